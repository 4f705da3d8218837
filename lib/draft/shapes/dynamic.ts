// Trees that grow where the draft model is sure.

import type { Growth, Shape } from "./growth.ts";
import { type Drawn, largest, type Sketch } from "./sketch.ts";

/** Children of a node at most. */
const mostChildren = 16;

class DynamicGrowth implements Growth {
  readonly draws = mostChildren;
  readonly #nodes: number;
  readonly #threshold: number;
  // Of each node: value of the slot that it was drawn for, and of the slot of its first child.
  readonly #slot = [1];
  readonly #child = [1];

  constructor(nodes: number, threshold: number) {
    this.#nodes = nodes;
    this.#threshold = threshold;
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    const before = sketch.size;
    for (const [i, row] of rows.entries()) {
      let value = this.#child[row];
      let left = 1; // mass that the draws before have left
      for (const { token, share } of drawn[i]) {
        if (!(value > 0 && value >= this.#threshold)) break;
        const residual = left > share ? share / left : 1;
        sketch.add(row, token, share);
        this.#slot.push(value);
        this.#child.push(value * residual);
        value *= 1 - residual;
        left -= share;
      }
    }
    // A slot that would not be among the best now will not be when there are more.
    const kept = this.keep();
    const full = kept.length > this.#nodes;
    const worst = full ? Math.min(...kept.map((node) => this.#slot[node])) : 0;
    const open = (node: number) =>
      node >= before && this.#child[node] >= this.#threshold && (full ? this.#child[node] > worst : true);
    return kept.filter(open);
  }

  keep(): number[] {
    return largest(this.#slot, this.#nodes);
  }
}

/**
 * The nodes whose slots are worth most (DySpec, arXiv:2410.11744): a slot of value v draws a token y from R, what the draws before it have left of the law; the slot of its first child
 * is then worth v R(y), that of its next sibling v (1 - R(y)). Slots of a level are filled together, and those that cannot be among the best are not asked for; the tree is
 * that of the heap that fills one slot at a time. R is made of shares: the law itself without noise, and how sure the draws are under it. At most 16 children a node.
 */
export class DynamicShape implements Shape {
  readonly depth: number;
  readonly #nodes: number;
  readonly #threshold: number;

  constructor(nodes: number, depth: number, threshold: number) {
    this.#nodes = nodes;
    this.depth = depth;
    this.#threshold = threshold;
  }

  start(nodes: number): Growth {
    return new DynamicGrowth(Math.min(nodes, this.#nodes), this.#threshold);
  }
}
