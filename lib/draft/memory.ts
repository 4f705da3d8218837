// What a model has said in finished texts.

import { SuffixTrie } from "./suffix-trie.ts";

/** Texts that are finished, counted until there are too many tokens; then the older half is forgotten. */
export class Memory {
  readonly #depth: number;
  readonly #most: number;
  #texts: number[][] = [];
  #tokens = 0;
  /** Counts of what is kept. Another one after something was forgotten; whoever holds the old one may go on with it. */
  trie: SuffixTrie;

  /** @param depth of the trie @param most tokens that are kept */
  constructor(depth: number, most: number) {
    this.#depth = depth;
    this.#most = most;
    this.trie = new SuffixTrie(depth);
  }

  add(text: number[]): void {
    if (this.#most === 0 || text.length === 0) return;
    const kept = text.slice(-this.#most);
    this.#texts.push(kept);
    this.#tokens += kept.length;
    if (this.#tokens <= this.#most) {
      this.#count(this.trie, kept);
      return;
    }
    while (this.#tokens > this.#most / 2 && this.#texts.length > 1)
      this.#tokens -= (this.#texts.shift() as number[]).length;
    this.trie = new SuffixTrie(this.#depth);
    for (const old of this.#texts) this.#count(this.trie, old);
  }

  #count(trie: SuffixTrie, text: number[]): void {
    trie.cut();
    for (const token of text) trie.append(token);
  }
}
