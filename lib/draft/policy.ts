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
 * @param beyond rows more than that, where there are any, to learn what they take
 */
export function choose(proposals: readonly TokenTree[], most: number, costs: DraftCosts, beyond = 0): Choice {
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
  return rows > 1 && gain >= leastGain ? { tree: prune(all, Math.min(rows + beyond, most)), gain } : nothing;
}

/** Reach at which a copy ends. */
const leastReach = 0.02;

/** Steps with drafts in a row after which one is plain, and plain tokens after which something is drafted, so that the policy goes on knowing what both take. */
export const [plainEvery, probeEvery] = [64, 64];
/** Most rows of a step that the policy considers, the root included. */
export const mostRows = 64;

/** Tokens that agree before token i of a copy behind a repetition; behind changed tokens, 0, the first stands for one. */
export const agreeing = (matched: number, i: number): number => (i === 0 ? matched : Math.max(1, matched) + i);

/** How much is copied. */
export interface CopyLengths {
  /** Tokens to copy by tokens that agree before; 0: none pays; -1: none is proposed. The last is for longer runs too. */
  tokens: Int32Array;
  /** Predicted tokens a second behind so many over those of plain decoding. */
  gain(matched: number): number;
}

/**
 * Tokens to copy behind repetitions, those that bring the most tokens a second.
 * @param sure probability of the next token by how many last ones agree, as {@link agreeing} counts them. The last is for more too
 * @param least tokens that have to agree
 */
export function copyLengths(sure: Float64Array, least: number, most: number, costs: DraftCosts): CopyLengths {
  const last = sure.length - 1;
  // Repetitions from which on all are alike need no entries of their own.
  let entries = sure.length;
  while (entries > least + 1 && sure[entries - 1] === sure[entries - 2]) entries -= 1;
  const seconds = Float64Array.from({ length: most + 2 }, (_, rows) => costs.tree(Math.max(1, rows)));
  const gains = new Float64Array(entries).fill(1);
  const tokens = Int32Array.from({ length: entries }, (_, matched) => {
    if (matched === 0 ? sure[0] === 0 : matched < least) return -1;
    let [reach, expected, length] = [1, 1, 0];
    for (let n = 1; n <= most; n++) {
      reach *= sure[Math.min(last, agreeing(matched, n - 1))];
      if (reach < leastReach) break;
      expected += reach;
      const gain = (expected * costs.token) / seconds[n + 1];
      if (gain >= leastGain && gain > gains[matched]) [gains[matched], length] = [gain, n];
    }
    return length;
  });
  return { tokens, gain: (matched) => gains[Math.min(matched, entries - 1)] };
}

/** One tree of all proposals; where there would be too many nodes, of the likeliest of each. */
export function mergeAll(proposals: readonly TokenTree[]): TokenTree {
  const each = Math.floor((maxTreeNodes - 1) / proposals.length);
  return merge(proposals.map((tree) => prune(tree, each + 1)));
}
