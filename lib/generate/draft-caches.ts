// KV caches of a draft model after their texts have ended, for texts that begin as those did: the next turn of a conversation, or the same instructions.

import type { KvCache } from "../cache/kv-cache.ts";
import { commonPrefix } from "../draft/common-prefix.ts";
import type { Runtime } from "../model/runtime.ts";

/** Texts that are kept at most. Together they have no more tokens than one context. */
const most = 4;
/** Tokens that have to agree: fewer are read in no time. */
const least = 8;

/** A text in the tokens of the draft model, all of which the cache holds. */
interface Kept {
  text: readonly number[];
  cache: KvCache;
}

/** What one draft model has read. */
export class DraftCaches {
  /** Used last at the end. */
  readonly #kept: Kept[] = [];
  #closed = false;

  /** A cache that holds as many leading tokens of the text as are known, the last one left out. Pages are shared with what stays kept. */
  take(runtime: Runtime, text: readonly number[]): KvCache {
    let [best, count] = [-1, Math.min(least, text.length) - 1];
    for (const [i, { text: known }] of this.#kept.entries()) {
      const same = Math.min(commonPrefix(known, text), text.length - 1);
      if (same > count) [best, count] = [i, same];
    }
    if (best < 0) return runtime.newCache();
    const [kept] = this.#kept.splice(best, 1);
    this.#kept.push(kept);
    const cache = kept.cache.fork();
    cache.truncate(count);
    return cache;
  }

  /** Keeps a cache in place of those whose texts are the beginning of its own, or disposes it if it says nothing new. */
  put(text: readonly number[], cache: KvCache): void {
    const known = this.#kept.some(({ text: longer }) => commonPrefix(longer, text) === text.length);
    if (this.#closed || known || text.length < least || text.length !== cache.length) {
      cache.dispose();
      return;
    }
    const begins = (other: readonly number[]) => commonPrefix(other, text) === other.length;
    const room = () => this.#kept.length < most && this.#tokens() + text.length <= cache.contextLength;
    for (let i = this.#kept.length - 1; i >= 0; i--) if (begins(this.#kept[i].text)) this.#drop(i);
    while (this.#kept.length > 0 && !room()) this.#drop(0);
    this.#kept.push({ text, cache });
  }

  #tokens(): number {
    return this.#kept.reduce((sum, { text }) => sum + text.length, 0);
  }

  #drop(at: number): void {
    for (const { cache } of this.#kept.splice(at, 1)) cache.dispose();
  }

  /** Frees all caches, and those that come back later. */
  close(): void {
    this.#closed = true;
    while (this.#kept.length > 0) this.#drop(0);
  }
}
