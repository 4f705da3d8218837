/** Things by name, made when they are first asked for; the one that was not asked for longest is forgotten. */
export class Recent<T> {
  readonly #most: number;
  readonly #make: () => T;
  readonly #known = new Map<string, T>();

  /** @param most things that are kept */
  constructor(most: number, make: () => T) {
    this.#most = most;
    this.#make = make;
  }

  of(name: string): T {
    const found = this.#known.get(name) ?? this.#make();
    this.#known.delete(name);
    if (this.#known.size >= this.#most) this.#known.delete(this.#known.keys().next().value as string);
    this.#known.set(name, found); // the last one again
    return found;
  }

  /** All that are kept with their names, the one that was asked for last at the end. */
  entries(): IterableIterator<[string, T]> {
    return this.#known.entries();
  }
}
