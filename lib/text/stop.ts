// Stop strings in a stream of text.

/** Text that may be shown, and the stop string that was found. */
export interface StopResult {
  emit: string;
  stopped?: string;
}

/**
 * Holds back only as much text as may still become a stop string. The match that is complete first wins, of those that end together
 * the longest: so the result does not depend on how the text is cut.
 */
export class StopMatcher {
  readonly #stops: string[];
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop.length > 0);
  }

  /** Adds text. After `stopped` nothing more is to be pushed. */
  push(text: string): StopResult {
    const all = this.#held + text;
    let end = Number.POSITIVE_INFINITY;
    let found: string | undefined;
    for (const stop of this.#stops) {
      const index = all.indexOf(stop);
      const ends = index + stop.length;
      if (index >= 0 && (ends < end || (ends === end && stop.length > (found?.length ?? 0)))) {
        end = ends;
        found = stop;
      }
    }
    if (found !== undefined) {
      this.#held = "";
      return { emit: all.slice(0, end - found.length), stopped: found };
    }
    let keep = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, all.length); length > keep; length--) {
        if (stop.startsWith(all.slice(all.length - length))) {
          keep = length;
          break;
        }
      }
    }
    this.#held = all.slice(all.length - keep);
    return { emit: all.slice(0, all.length - keep) };
  }

  /** What was held back and turned out to be no stop string. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}
