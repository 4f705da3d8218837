import { chain } from "../tree/build.ts";
import type { TokenTree } from "../tree/token-tree.ts";

/**
 * A run of tokens that are the surer the more before them agree.
 * @param agreed tokens before the first one
 * @param confidence of a token by how many agree before it
 */
export function run(
  root: number,
  tokens: Int32Array,
  agreed: number,
  confidence: (agreed: number) => number,
): TokenTree {
  const reach = new Float32Array(tokens.length);
  for (let i = 0, all = 1; i < tokens.length; i++) {
    all *= confidence(agreed + i);
    reach[i] = all;
  }
  return chain(root, tokens, reach);
}
