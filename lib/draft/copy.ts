// Copies what followed the last time the text ended like this.

import { badArgument, checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { Backlog } from "./backlog.ts";
import { checkInteger } from "./check-integer.ts";
import { Column } from "./column.ts";
import { Corpus, CorpusPlace, checkCorpus } from "./corpus.ts";
import { CorpusFile } from "./corpus-file.ts";
import type { DraftBudget, DraftCopies, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";
import { checkFolder } from "./keep.ts";
import { NgramIndex } from "./ngram-index.ts";
import { run } from "./run.ts";
import { SuffixAutomaton } from "./suffix-automaton.ts";

/** Options of {@link copy}. */
export interface CopyOptions {
  /**
   * Which earlier place is copied from. `longest`: the first place where the longest end of the text occurs (a suffix automaton,
   * arXiv:2411.10666). `latest`, `earliest`: the last or first place where the last `maxMatch` tokens occur, or fewer of them down to
   * `minMatch` (CopySpec, arXiv:2502.08923; prompt lookup decoding). @default "longest"
   */
  match?: "longest" | "latest" | "earliest";
  /** Tokens that have to agree. @default 2 */
  minMatch?: number;
  /** Tokens that are looked up at most; not for `longest`. @default 4 */
  maxMatch?: number;
  /** Tokens that are copied at most. @default 48 */
  maxTokens?: number;
  /**
   * A text that may be copied from too: token ids, `model.tokenize(text)`, or the path of a UTF-8 file. It is indexed once, a slice before every proposal, and
   * asked where it agrees longer than the text itself. @default none
   */
  corpus?: ArrayLike<number> | string;
  /** Where the token ids of a corpus file are kept, for every model, for the next process. @default nowhere */
  folder?: string;
}

/** How sure a copied token is before anything is known about the text, by the number of tokens that agree before it. */
function copyConfidence(matched: number): number {
  if (matched >= 16) return 0.95;
  if (matched >= 8) return 0.85;
  if (matched >= 5) return 0.75;
  return [0.05, 0.25, 0.4, 0.55, 0.65][matched];
}

/** Index over one text. */
interface Places {
  readonly tokens: Column;
  append(token: number): void;
  /** Where to copy from, and how many tokens agree before it. */
  find(): { next: number; length: number };
}

class Ngrams implements Places {
  readonly tokens = new Column();
  readonly #indexes: NgramIndex[];

  constructor(minMatch: number, maxMatch: number, which: "earliest" | "latest") {
    this.#indexes = Array.from({ length: maxMatch - minMatch + 1 }, (_, i) => new NgramIndex(maxMatch - i, which));
  }

  append(token: number): void {
    // The run that ends here is noted when there is something behind it.
    for (const index of this.#indexes) index.add(this.tokens.values, this.tokens.length);
    this.tokens.push(token);
  }

  find(): { next: number; length: number } {
    const { values, length } = this.tokens;
    for (const index of this.#indexes) {
      const next = index.find(values, length);
      if (next >= 0) return { next, length: index.n };
    }
    return { next: 0, length: 0 };
  }
}

class Longest implements Places {
  readonly #automaton = new SuffixAutomaton();
  readonly tokens = this.#automaton.tokens;

  append(token: number): void {
    this.#automaton.append(token);
  }

  find(): { next: number; length: number } {
    return this.#automaton.repeated();
  }
}

/** Tokens that are indexed before a proposal. */
const slice = 2048;

/** Tokens that may differ one after the other before a place is given up. */
const mostChanged = 3;

class CopySession implements DraftSession {
  readonly #places: Places;
  readonly #backlog: Backlog;
  readonly #minMatch: number;
  readonly #maxTokens: number;
  readonly #corpus: CorpusPlace | undefined;
  readonly copies?: DraftCopies;
  /** Where the last copy goes on if every token of the text stands for one of its source; and how many in a row were others. */
  #source: { next: number; changed: number } | undefined;

  constructor(places: Places, text: ArrayLike<number>, minMatch: number, maxTokens: number, corpus?: Corpus) {
    this.#places = places;
    this.#corpus = corpus && new CorpusPlace(corpus);
    this.#minMatch = minMatch;
    // A corpus may have what the text has not.
    if (!corpus && places instanceof Longest)
      this.copies = { least: minMatch, most: maxTokens, sure: (matched) => copyConfidence(Math.max(1, matched)) };
    this.#maxTokens = maxTokens;
    const append = (token: number) => {
      places.append(token);
      this.#corpus?.append(token);
    };
    this.#backlog = new Backlog(text, append, slice);
  }

  propose({ nodes, depth }: DraftBudget): TokenTree | undefined {
    if (!this.#backlog.advance()) return undefined;
    const { next, length } = this.#places.find();
    let agreed = length;
    const { values, length: end } = this.#places.tokens;
    const count = Math.min(nodes, depth, this.#maxTokens);
    const other = this.#corpus?.find(values, end, count);
    // N-grams agree in as many tokens as they are looked up by, or more.
    if (other)
      while (
        length > 0 &&
        agreed < other.length &&
        next > agreed &&
        values[next - agreed - 1] === values[end - agreed - 1]
      )
        agreed += 1;
    if (other && other.length > agreed && other.length >= this.#minMatch && other.tokens.length > 0)
      return run(values[end - 1], other.tokens, other.length, copyConfidence);
    if (length < this.#minMatch) return this.#resumed(count);
    this.#source = { next, changed: 0 };
    // A copy that overlaps its own end goes on with itself: the text repeats in a period.
    const period = end - next;
    const tokens = Int32Array.from({ length: count }, (_, i) => values[next + (i % period)]);
    return run(values[end - 1], tokens, length, copyConfidence);
  }

  /** Where a token was changed, what came after it in the source: as sure as if one token agreed. */
  #resumed(count: number): TokenTree | undefined {
    const { values, length: end } = this.#places.tokens;
    if (!this.#source) return undefined;
    const tokens = values.slice(this.#source.next, Math.min(end, this.#source.next + count));
    return tokens.length > 0 ? run(values[end - 1], tokens, 1, copyConfidence) : undefined;
  }

  observe({ tokens }: DraftOutcome): void {
    this.#backlog.push(tokens);
    const { values, length: end } = this.#places.tokens;
    for (const token of tokens) {
      if (!this.#source) break;
      const { next, changed } = this.#source;
      const differs = next >= end || values[next] !== token ? changed + 1 : 0;
      this.#source = differs > mostChanged ? undefined : { next: next + 1, changed: differs };
    }
  }
}

/**
 * Drafts what followed an earlier occurrence of the end of the text, prompt included: long runs where a text is quoted, edited or repeated. Where up to three tokens are others than those of
 * the copy, it goes on behind them.
 * O(1) amortised a token.
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with OUTRIDER_NOT_FOUND, OUTRIDER_IO or
 *   OUTRIDER_UNSUPPORTED if a corpus file cannot be read
 */
export function copy(options: CopyOptions = {}): Drafter {
  const { match = "longest", minMatch = 2, maxMatch = Math.max(4, minMatch), maxTokens = 48, corpus, folder } = options;
  checkOptions(options, ["match", "minMatch", "maxMatch", "maxTokens", "corpus", "folder"]);
  if (!["longest", "latest", "earliest"].includes(match))
    throw badArgument("match", '"longest", "latest" or "earliest"', match);
  checkInteger("minMatch", minMatch, 1, 64);
  checkInteger("maxMatch", maxMatch, minMatch, 64);
  checkInteger("maxTokens", maxTokens, 1, 255);
  checkFolder(folder);
  const file = typeof corpus === "string" && corpus !== "" ? new CorpusFile(corpus, folder) : undefined;
  if (corpus !== undefined && !file) checkCorpus(corpus);
  const given = corpus === undefined || file ? undefined : new Corpus(corpus as ArrayLike<number>);
  return {
    name: "copy",
    kind: `copy, ${match}, ${minMatch} to ${maxMatch}${corpus === undefined ? "" : ", corpus"}`,
    prepare: (context) => file?.read(context),
    start(tokens, context) {
      const places = match === "longest" ? new Longest() : new Ngrams(minMatch, maxMatch, match);
      return new CopySession(places, tokens, minMatch, maxTokens, file?.of(context) ?? given);
    },
  };
}
