/** Weight of a new time in a mean. */
const fresh = 0.1;
/** A time counts for at most so many times the mean: what else went on is no measure. */
const mostSurprise = 2;

/** A mean of times that were measured, recent ones first. */
export class MeanTime {
  /** Seconds; undefined before any was measured. */
  value: number | undefined;
  readonly #first: number;
  #seen = 0;

  /** @param first of so many first times the shortest counts, where others are of code and memory that were not used before */
  constructor(first = 1) {
    this.#first = first;
  }

  /** What a time counts for. */
  counted(seconds: number): number {
    return this.value === undefined ? seconds : Math.min(seconds, mostSurprise * this.value);
  }

  observe(seconds: number): void {
    if (!(seconds >= 0)) return;
    const counted = this.counted(seconds);
    this.#seen += 1;
    if (this.value === undefined) this.value = counted;
    else if (this.#seen <= this.#first) this.value = Math.min(this.value, counted);
    else this.value += fresh * (counted - this.value);
  }
}
