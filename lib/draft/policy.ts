// How much of what is drafted is evaluated: the part that brings the most tokens a second.

import { merge, prune } from "../tree/build.ts";
import { maxTreeNodes, type TokenTree } from "../tree/token-tree.ts";
import type { DraftCosts } from "./drafter.ts";

/** Predicted gain below which nothing is drafted. */
export const leastGain = 1.03;

/** What the policy chose. */
export interface Choice {
  /** To be evaluated; undefined: decode plainly. */
  tree: TokenTree | undefined;
  /** Predicted tokens a second over those of plain decoding; 1 if nothing is drafted. */
  gain: number;
}

/**
 * The tree of all proposals cut where tokens a second are largest: with reaches r in falling order, a tree of n nodes expects
 * F(n) = 1 + r_1 + ... + r_(n-1) tokens and takes T(n) seconds. All n are tried, since costs have steps. What drafting took is spent.
 */
export function choose(proposals: readonly TokenTree[], most: number, costs: DraftCosts): Choice {
  const nothing = { tree: undefined, gain: 1 };
  if (proposals.length === 0) return nothing;
  const all = proposals.length === 1 ? proposals[0] : mergeAll(proposals);
  const reach = [...all.reach].sort((a, b) => b - a);
  let [best, rows, expected] = [1 / costs.token, 1, 1];
  for (let n = 2; n <= Math.min(reach.length, most); n++) {
    expected += reach[n - 1];
    const rate = expected / costs.tree(n);
    if (rate > best) [best, rows] = [rate, n];
  }
  const gain = best * costs.token;
  return rows > 1 && gain >= leastGain ? { tree: prune(all, rows), gain } : nothing;
}

/** One tree of all proposals; where there would be too many nodes, of the likeliest of each. */
export function mergeAll(proposals: readonly TokenTree[]): TokenTree {
  const each = Math.floor((maxTreeNodes - 1) / proposals.length);
  return merge(proposals.map((tree) => prune(tree, each + 1)));
}
