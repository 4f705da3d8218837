// Trees that branch alike at every node of a level.

import type { Growth, Shape } from "./growth.ts";
import type { Drawn, Sketch } from "./sketch.ts";

class ConstantGrowth implements Growth {
  readonly draws: number;
  readonly #branching: readonly number[];

  constructor(branching: readonly number[]) {
    this.#branching = branching;
    this.draws = Math.max(...branching);
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    return rows.flatMap((row, i) =>
      drawn[i]
        .slice(0, this.#branching[sketch.depth[row]] ?? 0)
        .map(({ token, share }) => sketch.add(row, token, share)),
    );
  }
}

/** The first `branching[d]` draws behind every node at depth d (RSD-C, arXiv:2402.14160). */
export class ConstantShape implements Shape {
  readonly depth: number;
  readonly #branching: readonly number[];

  constructor(branching: readonly number[]) {
    this.#branching = branching;
    this.depth = branching.length;
  }

  start(): Growth {
    return new ConstantGrowth(this.#branching);
  }
}
