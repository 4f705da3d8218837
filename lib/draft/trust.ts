// How right a drafter is in one text, beside what its confidence was worth in all.

/** What a text counts for before anything of it was seen, in tokens that were expected to be right. */
const prior = 4;
/** Of earlier proposals at each new one: the last thirty or so count, as texts copy in one place and say something new in the next. */
const decay = 0.97;

/** Drafted tokens that were judged: how many were right, and how many were expected to be. */
export interface Judged {
  right: number;
  expected: number;
}

/** Right tokens over expected ones, drawn towards 1 while few were judged. */
export class Trust {
  #right = 0;
  #expected = 0;

  /** What the probability of a drafted token is multiplied by. */
  get factor(): number {
    return Math.min(1, (this.#right + prior) / (this.#expected + prior));
  }

  note({ right, expected }: Judged): void {
    if (expected === 0 && right === 0) return;
    this.#right = decay * this.#right + right;
    this.#expected = decay * this.#expected + expected;
  }
}
