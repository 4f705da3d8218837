/** Tokens after which runs are kept at most: the one that was not added to for longest is forgotten. */
const mostTokens = 2 ** 16;

/** Runs by the token that they follow: the newest of each. */
export class RunPool {
  readonly #each: number;
  readonly #runs = new Map<number, Int32Array[]>();

  /** @param each runs kept after a token */
  constructor(each: number) {
    this.#each = each;
  }

  /** Runs after `token`, the newest first. */
  after(token: number): readonly Int32Array[] {
    return this.#runs.get(token) ?? [];
  }

  add(token: number, run: Int32Array): void {
    const others = this.after(token).filter((other) => other.some((id, i) => id !== run[i]));
    this.#runs.delete(token);
    if (this.#runs.size >= mostTokens) this.#runs.delete(this.#runs.keys().next().value as number);
    this.#runs.set(token, [run, ...others].slice(0, this.#each));
  }
}
