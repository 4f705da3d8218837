// Trees of the likeliest sequences.

import type { Growth, Shape } from "./growth.ts";
import { type Drawn, largest, type Sketch } from "./sketch.ts";

class ConfidenceGrowth implements Growth {
  readonly draws: number;
  readonly #nodes: number;
  /** Of each node: the logarithm of its reach. */
  readonly #score = [0];

  constructor(width: number, nodes: number) {
    this.draws = width;
    this.#nodes = nodes;
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    const added = rows.flatMap((row, i) =>
      drawn[i].slice(0, this.draws).map(({ token, share }) => {
        this.#score.push(this.#score[row] + Math.log(share));
        return sketch.add(row, token, share);
      }),
    );
    return added.sort((a, b) => this.#score[b] - this.#score[a] || a - b).slice(0, this.draws);
  }

  keep(): number[] {
    return largest(this.#score, this.#nodes);
  }
}

/**
 * Deterministic children by confidence (EAGLE-2, arXiv:2406.16858): each of the `width` best nodes of a level offers its `width` first draws, and of all that were offered the
 * `nodes` of largest cumulative log share are proposed. A greedy text has the order and the probabilities of the draft model, a sampled one those under its noise.
 */
export class ConfidenceShape implements Shape {
  readonly depth: number;
  readonly #width: number;
  readonly #nodes: number;

  constructor(width: number, nodes: number, depth: number) {
    this.#width = width;
    this.#nodes = nodes;
    this.depth = depth;
  }

  start(nodes: number): Growth {
    return new ConfidenceGrowth(this.#width, Math.min(nodes, this.#nodes));
  }
}
