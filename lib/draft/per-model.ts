// Where drafters keep what they learn: by model, and of greedy texts apart.

import type { DraftContext, DraftSampling } from "./drafter.ts";

/** One thing for each model that a drafter works for, made when it is first asked for. */
export class PerModel<T> {
  readonly #make: (context: DraftContext) => T;
  readonly #known = new WeakMap<DraftContext, T>();

  constructor(make: (context: DraftContext) => T) {
    this.#make = make;
  }

  of(context: DraftContext): T {
    const known = this.#known.get(context) ?? this.#make(context);
    this.#known.set(context, known);
    return known;
  }
}

/** Two of a kind: greedy texts take more of what is drafted. */
export class GreedyApart<T> {
  readonly #greedy: T;
  readonly #sampled: T;

  constructor(make: () => T) {
    this.#greedy = make();
    this.#sampled = make();
  }

  of({ temperature }: DraftSampling): T {
    return temperature === 0 ? this.#greedy : this.#sampled;
  }
}
