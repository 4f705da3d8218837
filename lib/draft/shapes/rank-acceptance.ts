// How often the text takes the first draw of a draft model, the second, and so on.

import { rising } from "../rising.ts";

/** Weight of what was believed before anything was seen, in observations. */
const priorWeight = 4;
/** Acceptance of the first draw before anything was seen, and of each further one as a part of the one before. */
const [priorFirst, priorRatio] = [0.65, 0.3];
/** Of earlier observations at each new one: the last thousand count. */
const decay = 0.999;

/** Acceptance by rank, given that the text came to the parent. */
export class RankAcceptance {
  readonly #accepted: Float64Array;
  #seen = 0;

  /** @param ranks draws of a node */
  constructor(ranks: number) {
    this.#accepted = new Float64Array(ranks);
  }

  /** Notes the rank that the text took; -1: none of the draws. */
  observe(rank: number): void {
    this.#seen = decay * this.#seen + 1;
    for (const at of this.#accepted.keys()) this.#accepted[at] = decay * this.#accepted[at] + (at === rank ? 1 : 0);
  }

  /** Estimates by rank: they fall, and sum up to at most 1. */
  get estimates(): number[] {
    const means = Array.from(
      this.#accepted,
      (count, rank) => (count + priorWeight * priorFirst * priorRatio ** rank) / (this.#seen + priorWeight),
    );
    return Array.from(rising(means.reverse(), new Float64Array(means.length).fill(1))).reverse();
  }
}
