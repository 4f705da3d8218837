// A probability law over token ids, with its support only: what drafters draw from and verifiers compare.

import { badArgument } from "../errors.ts";

/** Token ids in ascending order with their probabilities, which sum to 1. Immutable. */
export class Law {
  readonly ids: Int32Array;
  readonly mass: Float64Array;

  private constructor(ids: Int32Array, mass: Float64Array) {
    this.ids = ids;
    this.mass = mass;
  }

  /**
   * The law that is proportional to `weights`.
   * @param ids strictly ascending token ids; ids without weight are left out
   * @param weights finite, not negative, not all zero
   * @throws {OutriderError} OUTRIDER_ARGUMENT
   */
  static of(ids: ArrayLike<number>, weights: ArrayLike<number>): Law {
    if (ids.length !== weights.length) throw badArgument("weights", `${ids.length} numbers`, weights.length);
    let total = 0;
    let kept = 0;
    for (let i = 0; i < ids.length; i++) {
      if (!Number.isInteger(ids[i]) || ids[i] < 0 || (i > 0 && ids[i] <= ids[i - 1]))
        throw badArgument(`ids[${i}]`, "strictly ascending token ids", ids[i]);
      if (!(weights[i] >= 0 && weights[i] < Number.POSITIVE_INFINITY))
        throw badArgument(`weights[${i}]`, "a finite number from 0 on", weights[i]);
      total += weights[i];
      if (weights[i] > 0) kept += 1;
    }
    if (!(total > 0 && total < Number.POSITIVE_INFINITY)) throw badArgument("weights", "a positive finite sum", total);
    const law = new Law(new Int32Array(kept), new Float64Array(kept));
    for (let i = 0, at = 0; i < ids.length; i++) {
      if (!(weights[i] > 0)) continue;
      law.ids[at] = ids[i];
      law.mass[at] = weights[i] / total;
      at += 1;
    }
    return law;
  }

  /** The law of one certain token. */
  static certain(token: number): Law {
    return Law.of([token], [1]);
  }

  /** Probability of `token`; 0 outside the support. */
  at(token: number): number {
    let low = 0;
    let high = this.ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ids[middle] < token) low = middle + 1;
      else high = middle;
    }
    return this.ids[low] === token ? this.mass[low] : 0;
  }

  /** The likeliest token; the lowest id of equals. */
  argmax(): number {
    let best = 0;
    for (let i = 1; i < this.mass.length; i++) if (this.mass[i] > this.mass[best]) best = i;
    return this.ids[best];
  }

  /** This law with `token` taken out; undefined if nothing is left. */
  without(token: number): Law | undefined {
    return this.minus(Law.certain(token)).law;
  }

  /**
   * `[scale * this - other]+`: its sum, and the law proportional to it unless the sum is zero. What a target law keeps when a draft
   * from `other` was refused.
   * @param scale from 0 to 1
   */
  minus(other: Law, scale = 1): { sum: number; law: Law | undefined } {
    const left = new Float64Array(this.ids.length);
    let sum = 0;
    for (let i = 0, j = 0; i < this.ids.length; i++) {
      while (j < other.ids.length && other.ids[j] < this.ids[i]) j += 1;
      const taken = other.ids[j] === this.ids[i] ? other.mass[j] : 0;
      left[i] = Math.max(0, scale * this.mass[i] - taken);
      sum += left[i];
    }
    return { sum, law: sum > 0 ? Law.of(this.ids, left) : undefined };
  }
}
