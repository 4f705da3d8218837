import type { Law } from "../tree/law.ts";
import { match, type Verifier } from "./verifier.ts";

/** Gumbel noise of a token at an absolute position: -log(-log u) of a uniform number that depends on both and on the seed alone. */
export type Noise = (position: number, token: number) => number;

/** The token with the largest log-probability plus noise, the lowest id of equals: a draw from the law (Gumbel-max). */
export function noisyArgmax(law: Law, noise: (token: number) => number): number {
  let [best] = law.ids;
  let largest = Number.NEGATIVE_INFINITY;
  for (const [i, id] of law.ids.entries()) {
    const value = Math.log(law.mass[i]) + noise(id);
    if (value > largest) {
      largest = value;
      best = id;
    }
  }
  return best;
}

/**
 * Sample matching with noise that is a function of seed, position and token (Gumbel coupling). The text depends on prompt and seed alone,
 * whatever was drafted. Drafters that add the same noise to their own scores are accepted with probability of at least
 * (1 - TV) / (1 + TV), TV the total variation between both laws.
 * @param noise what plain decoding draws with
 * @param start position of the token after the root
 */
export function sharedNoise(noise: Noise, start: number): Verifier {
  return {
    name: "shared-noise",
    exact: true,
    verify: (tree, target) =>
      match(tree, (node) => noisyArgmax(target(node), (token) => noise(start + tree.depth[node], token))),
  };
}
