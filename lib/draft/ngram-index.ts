// Where runs of n tokens occur in a growing text.

/** First and last occurrence of every run of `n` tokens. Runs are found by hash and compared token by token. */
export class NgramIndex {
  readonly n: number;
  // By hash: positions behind the first and behind the last occurrence but the newest.
  readonly #first = new Map<number, number>();
  readonly #last = new Map<number, number>();

  constructor(n: number) {
    this.n = n;
  }

  static #hash(tokens: ArrayLike<number>, begin: number, end: number): number {
    let hash = 0x811c9dc5;
    for (let i = begin; i < end; i++) hash = Math.imul(hash ^ tokens[i], 0x01000193) ^ (hash >>> 13);
    return hash;
  }

  /** Notes the run that ends before `end`. */
  add(tokens: ArrayLike<number>, end: number): void {
    if (end < this.n) return;
    const hash = NgramIndex.#hash(tokens, end - this.n, end);
    if (!this.#first.has(hash)) this.#first.set(hash, end);
    this.#last.set(hash, end);
  }

  /** Position behind an earlier occurrence of the run that ends before `end`, which has not been added; -1 if there is none. */
  find(tokens: ArrayLike<number>, end: number, which: "earliest" | "latest"): number {
    if (end < this.n) return -1;
    const hash = NgramIndex.#hash(tokens, end - this.n, end);
    const at = (which === "earliest" ? this.#first : this.#last).get(hash);
    if (at === undefined) return -1;
    for (let i = 1; i <= this.n; i++) if (tokens[at - i] !== tokens[end - i]) return -1;
    return at;
  }
}
