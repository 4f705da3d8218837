// What grows a tree level by level: a rule without a model.

import type { Drawn, Sketch } from "./sketch.ts";

/** A tree under way. */
export interface Growth {
  /** Draws that are wanted behind every row, 1 to 63; there may be one more, or fewer where the law gives no more. */
  readonly draws: number;
  /**
   * Adds children to nodes that were evaluated.
   * @param rows nodes of one level, the root alone at first; of those asked for some may be missing
   * @param drawn behind each of them
   * @returns new nodes that children are wanted for
   */
  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): readonly number[];
  /** Nodes to propose, the root and the parent of each among them, in order; absent: all. */
  keep?(sketch: Sketch): readonly number[];
  /** Learns which draw the text took behind a node that it came to, 0 for the first; -1: none of them. */
  observe?(rank: number): void;
}

/** Grows trees of one shape for one pair of models. */
export interface Shape {
  /** Levels below the root at most. */
  readonly depth: number;
  /**
   * @param nodes without the root, at most
   * @param depth levels at most
   * @param coin uniform numbers in (0, 1), for rules that draw themselves
   */
  start(nodes: number, depth: number, coin: () => number): Growth;
}
