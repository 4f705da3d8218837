// Trees from whoever can say what follows what, and how likely: the likeliest nodes first.

import { TokenTree } from "../tree/token-tree.ts";
import type { DraftBudget } from "./drafter.ts";

/** A token that may come next. */
export interface Candidate<State> {
  token: number;
  /** Probability given what is before it. Candidates of a state come in falling order. */
  share: number;
  /** What is known after it; asked for only if the token is taken. */
  state: () => State;
}

/**
 * The nodes of largest reach: of all open ones the likeliest is taken, and offers its next sibling and its first child.
 * @param candidates of a state, asked once for each node that is taken
 * @param leastReach of a node. @default 0
 */
export function growTree<State>(
  root: number,
  start: State,
  { nodes, depth: deepest }: DraftBudget,
  candidates: (state: State) => readonly Candidate<State>[],
  leastReach = 0,
): TokenTree | undefined {
  const token = [root];
  const parent = [-1];
  const depth = [0];
  const reach = [1];
  const open: { parent: number; list: readonly Candidate<State>[]; rank: number; reach: number }[] = [];
  const offer = (above: number, list: readonly Candidate<State>[], rank: number) => {
    if (rank >= list.length) return;
    const here = reach[above] * list[rank].share;
    if (here > 0 && here >= leastReach) open.push({ parent: above, list, rank, reach: here });
  };
  if (deepest > 0) offer(0, candidates(start), 0);
  while (token.length <= nodes && open.length > 0) {
    let best = 0;
    for (let i = 1; i < open.length; i++) if (open[i].reach > open[best].reach) best = i;
    const taken = open[best];
    open[best] = open[open.length - 1];
    open.pop();
    const { token: next, state } = taken.list[taken.rank];
    token.push(next);
    parent.push(taken.parent);
    depth.push(depth[taken.parent] + 1);
    reach.push(taken.reach);
    offer(taken.parent, taken.list, taken.rank + 1);
    if (depth[token.length - 1] < deepest) offer(token.length - 1, candidates(state()), 0);
  }
  return token.length > 1 ? new TokenTree({ token, parent, reach }) : undefined;
}
