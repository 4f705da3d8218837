// What a model has said in finished texts.

import type { Learnt } from "./keep.ts";
import { SuffixTrie } from "./suffix-trie.ts";

/** Texts that are finished, counted until there are too many tokens; then the older half is forgotten. */
export class Memory implements Learnt {
  readonly #vocab: number;
  readonly #depth: number;
  readonly #most: number;
  #texts: number[][] = [];
  #tokens = 0;
  /** Counts of what is kept. Another one after something was forgotten; whoever holds the old one may go on with it. */
  trie: SuffixTrie;

  /** @param vocab token ids are below it @param depth of the trie @param most tokens that are kept */
  constructor(vocab: number, depth: number, most: number) {
    this.#vocab = vocab;
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

  toInts(): Int32Array {
    return Int32Array.from(this.#texts.flatMap((text) => [text.length, ...text]));
  }

  fromInts(ints: Int32Array): boolean {
    const texts: number[][] = [];
    for (let at = 0; at < ints.length; at += 1 + ints[at]) {
      const text = Array.from(ints.subarray(at + 1, at + 1 + ints[at]));
      if (ints[at] < 1 || text.length !== ints[at] || text.some((id) => id < 0 || id >= this.#vocab)) return false;
      texts.push(text);
    }
    for (const text of texts) this.add(text);
    return true;
  }

  #count(trie: SuffixTrie, text: number[]): void {
    trie.cut();
    for (const token of text) trie.append(token);
  }
}
