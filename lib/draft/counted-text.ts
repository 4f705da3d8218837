// A text whose runs are counted, followed through the counts of other texts.

import { Backlog } from "./backlog.ts";
import type { DraftOutcome } from "./drafter.ts";
import { SuffixTrie } from "./suffix-trie.ts";

/** Where the text ends in the counts of some text. */
export interface Ends {
  trie: SuffixTrie;
  /** Nodes of the runs that the text ends with, longest first. */
  ends: readonly number[];
}

/** Where a text ends that goes on with a token. */
export function endsAfter<E extends Ends>(places: readonly E[], token: number): E[] {
  return places.map((place) => ({ ...place, ends: place.trie.follow(place.ends, token) }));
}

/** The text of a session. */
export class CountedText {
  /** The last token. */
  root: number;
  /** Tokens behind the prompt. */
  readonly said: number[] = [];
  readonly #own: SuffixTrie;
  readonly #others: Ends[];
  readonly #backlog: Backlog;

  /**
   * @param prompt the text so far
   * @param depth of the longest run
   * @param others counts that the text is followed through
   * @param slice tokens that are counted at a time
   */
  constructor(prompt: ArrayLike<number>, depth: number, others: readonly SuffixTrie[], slice: number) {
    this.root = prompt[prompt.length - 1];
    this.#own = new SuffixTrie(depth);
    this.#others = others.map((trie) => ({ trie, ends: [] }));
    this.#backlog = new Backlog(prompt, (token) => this.#append(token), slice);
  }

  #append(token: number): void {
    this.#own.append(token);
    for (const other of this.#others) other.ends = other.trie.follow(other.ends, token);
  }

  push({ tokens }: DraftOutcome): void {
    this.#backlog.push(tokens);
    this.said.push(...tokens);
    this.root = tokens[tokens.length - 1] ?? this.root;
  }

  /** Counts the next slice. Where the whole text ends, in its own counts and then in the others; undefined while tokens wait. */
  ends(): Ends[] | undefined {
    if (!this.#backlog.advance()) return undefined;
    return [{ trie: this.#own, ends: this.#own.ends }, ...this.#others];
  }
}
