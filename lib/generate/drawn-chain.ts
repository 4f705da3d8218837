import type { NativeBatchResult } from "../native.ts";
import { TokenTree } from "../tree/token-tree.ts";

/**
 * The tree of tokens that were drawn one after the other in one native call which wanted the top ones too, and beside each of them the likeliest others.
 * @param branches tokens at every place, and ids of each in the result
 * @param toModel ids of the draws in the vocabulary of the tree; the chain ends where there is none
 * @returns the tree, if it has more than its root, and the chain
 */
export function drawnChain(
  root: number,
  { sampled, sampledLogprob, topkIds, topkValues, logsumexp }: NativeBatchResult,
  branches: number,
  toModel: (id: number) => number | undefined,
): { tree: TokenTree | undefined; chain: number[] } {
  const token = [root];
  const parent = [-1];
  const reach = [1];
  const chain: number[] = [];
  let at = 0;
  for (const [i, drawn] of sampled.entries()) {
    const above = at;
    const add = (id: number | undefined, confidence: number) => {
      if (id === undefined || token.some((other, node) => parent[node] === above && other === id)) return;
      token.push(id);
      parent.push(above);
      reach.push(reach[above] * Math.min(1, Math.max(0, confidence)));
    };
    const id = toModel(drawn);
    if (id === undefined) break;
    at = token.length;
    chain.push(id);
    add(id, Math.exp(sampledLogprob?.[i] ?? 0));
    for (let k = 0; k < (branches > 1 ? branches : 0); k++) {
      const one = i * branches + k;
      if (!topkIds || !topkValues || !logsumexp || topkIds[one] < 0) continue;
      add(toModel(topkIds[one]), Math.exp(topkValues[one] - logsumexp[i]));
    }
  }
  return { tree: token.length > 1 ? new TokenTree({ token, parent, reach }) : undefined, chain };
}
