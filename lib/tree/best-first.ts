// The shape with the most expected tokens for a number of nodes, from measured acceptance by rank.

import { badArgument } from "../errors.ts";
import { maxTreeNodes } from "./token-tree.ts";

/** A node of a {@link bestFirst} shape. */
export interface RankedPath {
  path: number[];
  /** Probability that it lies on the accepted path. */
  reach: number;
}

/**
 * Rank paths in falling order of reach, the root left out: every beginning of the list is the best shape of its size, since reach adds up
 * over nodes and never rises downwards (Sequoia's dynamic programme, arXiv:2402.12374, finds the same).
 * @param acceptance of the k-th candidate given its parent, k falling; the row of a depth, or of the last depth there is
 * @param nodes at most so many, without the root
 * @param maxDepth levels below the root
 */
export function bestFirst(acceptance: readonly (readonly number[])[], nodes: number, maxDepth: number): RankedPath[] {
  for (const [depth, row] of acceptance.entries()) {
    if (
      row.length === 0 ||
      row.some((a, k) => !(a >= 0 && a <= (row[k - 1] ?? 1))) ||
      row.reduce((s, a) => s + a) > 1 + 1e-9
    )
      throw badArgument(`acceptance[${depth}]`, "falling probabilities with a sum of at most 1", row.join(", "));
  }
  if (acceptance.length === 0) throw badArgument("acceptance", "at least one row", acceptance);
  if (!Number.isInteger(nodes) || nodes < 0 || nodes >= maxTreeNodes)
    throw badArgument("nodes", `an integer from 0 to ${maxTreeNodes - 1}`, nodes);
  const at = (depth: number, rank: number) => acceptance[Math.min(depth, acceptance.length - 1)][rank];
  const found: RankedPath[] = [];
  // The best next sibling and the first child of each node taken; the parent's reach is kept for siblings.
  const open: (RankedPath & { above: number })[] = [];
  const offer = (path: number[], above: number) => {
    const acceptanceHere = at(path.length - 1, path[path.length - 1]);
    if (path.length <= maxDepth && acceptanceHere > 0) open.push({ path, reach: above * acceptanceHere, above });
  };
  offer([0], 1);
  while (found.length < nodes && open.length > 0) {
    let best = 0;
    for (let i = 1; i < open.length; i++) if (open[i].reach > open[best].reach) best = i;
    const [{ path, reach, above }] = open.splice(best, 1);
    found.push({ path, reach });
    offer([...path.slice(0, -1), path[path.length - 1] + 1], above);
    offer([...path, 0], reach);
  }
  return found;
}
