// Where runs of n tokens occur in a growing text.

/** First or last occurrence of every run of `n` tokens. Runs are found by hash and compared token by token. */
export class NgramIndex {
  readonly n: number;
  readonly #which: "earliest" | "latest";
  // By hash: the position behind the occurrence.
  readonly #behind = new Map<number, number>();

  constructor(n: number, which: "earliest" | "latest") {
    this.n = n;
    this.#which = which;
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
    if (this.#which === "latest" || !this.#behind.has(hash)) this.#behind.set(hash, end);
  }

  /** Position behind an earlier occurrence of the run that ends before `end`, which has not been added; -1 if there is none. */
  find(tokens: ArrayLike<number>, end: number): number {
    if (end < this.n) return -1;
    const at = this.#behind.get(NgramIndex.#hash(tokens, end - this.n, end));
    if (at === undefined) return -1;
    for (let i = 1; i <= this.n; i++) if (tokens[at - i] !== tokens[end - i]) return -1;
    return at;
  }
}
