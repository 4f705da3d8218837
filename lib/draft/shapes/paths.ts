// Independent chains side by side.

import type { Growth, Shape } from "./growth.ts";
import type { Drawn, Sketch } from "./sketch.ts";

/**
 * Independent draws out of draws without replacement: each repeats one that was made before with the probability that these have together, and is else the next of those without
 * replacement. That is the law of draws with replacement.
 * @param drawn as many as `count`, or all that the law gives
 * @returns which of `drawn` each one is
 */
export function independentDraws(drawn: readonly Drawn[], count: number, coin: () => number): number[] {
  const picked: number[] = [];
  let seen = 0;
  let mass = 0;
  while (picked.length < count && drawn.length > 0) {
    let left = coin();
    if (seen < drawn.length && left >= mass) {
      mass += Math.exp(drawn[seen].logq);
      picked.push(seen++);
      continue;
    }
    left *= seen < drawn.length ? 1 : mass; // the masses of all draws may sum to a little less than 1
    let at = 0;
    for (; at < seen - 1; at++) {
      left -= Math.exp(drawn[at].logq);
      if (left < 0) break;
    }
    picked.push(at);
  }
  return picked;
}

class PathGrowth implements Growth {
  readonly draws: number;
  readonly #coin: () => number;
  /** Chains through each node. */
  readonly #through: number[];

  constructor(count: number, coin: () => number) {
    this.draws = count;
    this.#coin = coin;
    this.#through = [count];
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    const added: number[] = [];
    for (const [i, row] of rows.entries()) {
      const children = new Map<number, number>();
      for (const at of independentDraws(drawn[i], this.#through[row], this.#coin)) {
        const { token, share } = drawn[i][at];
        const child = children.get(at) ?? sketch.add(row, token, share);
        if (!children.has(at)) added.push(child);
        children.set(at, child);
        this.#through[child] = (this.#through[child] ?? 0) + 1;
      }
    }
    return added;
  }
}

/**
 * `count` chains that are drawn independently of each other, equal beginnings merged (SpecTr, arXiv:2310.15141). The first has the noise of the text.
 */
export class PathsShape implements Shape {
  readonly depth: number;
  readonly #count: number;

  constructor(count: number, depth: number) {
    this.#count = count;
    this.depth = depth;
  }

  start(_nodes: number, _depth: number, coin: () => number): Growth {
    return new PathGrowth(this.#count, coin);
  }
}
