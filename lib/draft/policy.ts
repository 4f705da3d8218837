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

/** Longest repetition that is waited for. */
const longestWait = 16;
/** Rows of the longest chain that is looked at for that, and reach at which one ends. */
const [longestChain, leastReach] = [24, 0.02];

/**
 * Tokens of the shortest repetition behind which a chain would pay that costs so many seconds beside its step; 0: none of up to 16 tokens does.
 * @param sure probability of the next token by how many last ones are a repetition; 0: nothing would be proposed
 * @param costs absent until something was timed: the shortest with a proposal
 */
export function leastRun(sure: (matched: number) => number, costs: DraftCosts | undefined, beside: number): number {
  const pays = (run: number): boolean => {
    if (!costs) return sure(run) > 0;
    let [reach, expected] = [1, 1];
    for (let rows = 2; rows <= longestChain; rows++) {
      reach *= sure(run + rows - 2);
      if (reach < leastReach) return false;
      expected += reach;
      if (expected * costs.token >= leastGain * (costs.tree(rows) + beside)) return true;
    }
    return false;
  };
  for (let run = 1; run <= longestWait; run++) if (pays(run)) return run;
  return 0;
}

/** One tree of all proposals; where there would be too many nodes, of the likeliest of each. */
export function mergeAll(proposals: readonly TokenTree[]): TokenTree {
  const each = Math.floor((maxTreeNodes - 1) / proposals.length);
  return merge(proposals.map((tree) => prune(tree, each + 1)));
}
