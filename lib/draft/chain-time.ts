/** Weight of each new time. */
const fresh = 0.05;
/** A time counts for at most so many times what was expected: what else went on is no measure. */
const mostSurprise = 2;
/** Spread of the lengths, squared, below which they are all alike. */
const leastSpread = 0.05;

/**
 * What chains take by their length, as a line through what was measured lately: the first token takes longer than those after it where two models take turns in the
 * caches. While all were of one length, a token is its share.
 */
export class ChainTime {
  #weight = 0;
  #length = 0;
  #seconds = 0;
  #spread = 0; // of the lengths
  #along = 0; // of seconds with length

  /** Notes what a chain of so many tokens took. */
  observe(tokens: number, seconds: number): void {
    const expected = this.seconds(tokens);
    const counted = expected === undefined ? seconds : Math.min(seconds, mostSurprise * expected);
    this.#weight += 1;
    const share = Math.max(fresh, 1 / this.#weight);
    const [longer, slower] = [tokens - this.#length, counted - this.#seconds];
    this.#length += share * longer;
    this.#seconds += share * slower;
    this.#spread = (1 - share) * (this.#spread + share * longer * longer);
    this.#along = (1 - share) * (this.#along + share * longer * slower);
  }

  /** Seconds of a chain of so many tokens; undefined before any was measured. */
  seconds(tokens: number): number | undefined {
    if (this.#weight === 0) return undefined;
    const even = this.#seconds / this.#length;
    const slope = this.#spread > leastSpread ? Math.min(even, Math.max(0, this.#along / this.#spread)) : even;
    return this.#seconds + slope * (tokens - this.#length);
  }
}
