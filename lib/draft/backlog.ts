// Indexing a long text without holding up the event loop.

/** Tokens that wait to be indexed, a slice at a time. */
export class Backlog {
  readonly #tokens: number[] = [];
  readonly #append: (token: number) => void;
  readonly #slice: number;
  #done = 0;

  /**
   * @param append indexes one token
   * @param slice tokens that are indexed at a time: a millisecond or two of work
   */
  constructor(text: ArrayLike<number>, append: (token: number) => void, slice: number) {
    this.#append = append;
    this.#slice = slice;
    this.push(text);
  }

  push(tokens: ArrayLike<number>): void {
    for (let i = 0; i < tokens.length; i++) this.#tokens.push(tokens[i]);
  }

  /** Indexes the next slice. True if nothing waits any more. */
  advance(): boolean {
    const end = Math.min(this.#tokens.length, this.#done + this.#slice);
    while (this.#done < end) this.#append(this.#tokens[this.#done++]);
    if (this.#done < this.#tokens.length) return false;
    this.#tokens.length = 0;
    this.#done = 0;
    return true;
  }
}
