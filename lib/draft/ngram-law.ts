// What counted runs say of the next token, on top of what a model says: Witten-Bell smoothing.

import type { Ends } from "./counted-text.ts";
import type { SuffixTrie } from "./suffix-trie.ts";

/** A run that the text ends with, and that something followed in the counts. */
interface Run {
  trie: SuffixTrie;
  node: number;
  /** How often anything followed, and how many different tokens did. */
  count: number;
  kinds: number;
}

/**
 * The law of the token behind a text. From the shortest run up, each run that the text ends with and that was followed by anything mixes what
 * followed it with what the runs before it say, and the model before all of them:
 *
 *     p(x | run) = (times x followed + kinds * p(x | shorter)) / (count + kinds)
 *
 * It is a law over all tokens, as the model's is. Where no run is known it is the model's own; a token that never followed a known run keeps the
 * share kinds / (count + kinds) of what it had (Witten and Bell 1991, method C).
 */
export class NgramLaw {
  readonly #runs: Run[] = [];

  /** @param places where the text ends in each of the counts; of runs of one length those of the last one count most */
  constructor(places: readonly Ends[]) {
    const longest = Math.max(0, ...places.map(({ ends }) => ends.length));
    for (let length = 1; length <= longest; length++) {
      for (const { trie, ends } of places) {
        if (length > ends.length) continue;
        const node = ends[ends.length - length]; // every shorter run is there too
        const { count, kinds } = trie.following(node);
        if (kinds > 0) this.#runs.push({ trie, node, count, kinds });
      }
    }
  }

  /** Whether there is a run that says anything. */
  get known(): boolean {
    return this.#runs.length > 0;
  }

  /** Probability of a token. @param before what the model gives it */
  probability(token: number, before: number): number {
    return this.#runs.reduce((p, { trie, node, count, kinds }) => {
      const next = trie.step(node, token);
      return ((next < 0 ? 0 : trie.count(next)) + kinds * p) / (count + kinds);
    }, before);
  }
}
