// Runs of a corpus that calls bring along, counted once for calls that bring the same.

import { setImmediate } from "node:timers/promises";
import { Backlog } from "../draft/backlog.ts";
import { SuffixTrie } from "../draft/suffix-trie.ts";
import { badArgument } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** Tokens of the longest run that is counted, the one that follows included: orders 2 to 6. */
export const longestRun = 6;
/** Tokens that are counted between two turns of the event loop. */
const slice = 1024;

/** A copy of the texts. @throws {OutriderError} OUTRIDER_ARGUMENT */
export function checkTexts(corpus: unknown): readonly string[] {
  const texts = typeof corpus === "string" ? [corpus] : corpus;
  if (!Array.isArray(texts)) throw badArgument("corpus", "a string or an array of strings", corpus);
  const wrong = texts.findIndex((text) => typeof text !== "string");
  if (wrong >= 0) throw badArgument(`corpus[${wrong}]`, "a string", texts[wrong]);
  return [...texts];
}

/** Counts texts one after the other, without runs from one into the next. @throws the signal's reason */
export async function countTexts(
  texts: Iterable<ArrayLike<number>>,
  signal: AbortSignal | undefined,
): Promise<SuffixTrie> {
  const trie = new SuffixTrie(longestRun);
  for (const text of texts) {
    trie.cut();
    const reading = new Backlog(text, (token) => trie.append(token), slice);
    while (!reading.advance()) {
      await setImmediate();
      signal?.throwIfAborted();
    }
    await setImmediate(); // the next text is made into tokens at a stretch
    signal?.throwIfAborted();
  }
  return trie;
}

const last = new WeakMap<Tokenizer, { texts: readonly string[]; trie: SuffixTrie }>();

/** Counts of a corpus in a model's tokens. Those of the last corpus are kept. @throws the signal's reason */
export async function corpusCounts(
  texts: readonly string[],
  tokenizer: Tokenizer,
  signal: AbortSignal | undefined,
): Promise<SuffixTrie> {
  const known = last.get(tokenizer);
  if (known && known.texts.length === texts.length && known.texts.every((text, i) => text === texts[i]))
    return known.trie;
  const trie = await countTexts(
    (function* () {
      for (const text of texts) yield tokenizer.encode(text);
    })(),
    signal,
  );
  last.set(tokenizer, { texts, trie });
  return trie;
}
