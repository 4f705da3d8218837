/** Weight of a new time in a mean. */
const fresh = 0.1;
/** A time counts for at most so many times the mean: what else went on is no measure. */
const mostSurprise = 2;
/** Of so many first times the shortest counts: others are of code and memory that were not used before. */
const first = 8;

/** A mean of times that were measured, recent ones first. */
export class MeanTime {
  /** Seconds; undefined before any was measured. */
  value: number | undefined;
  #seen = 0;

  /** What a time counts for. */
  counted(seconds: number): number {
    return this.value === undefined ? seconds : Math.min(seconds, mostSurprise * this.value);
  }

  observe(seconds: number): void {
    if (!(seconds >= 0)) return;
    const counted = this.counted(seconds);
    this.#seen += 1;
    if (this.value === undefined || (this.#seen <= first && counted < this.value)) this.value = counted;
    else if (this.#seen > first) this.value += fresh * (counted - this.value);
  }
}
