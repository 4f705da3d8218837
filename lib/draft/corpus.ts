// A text that all texts may copy from, read on a slice at a time.

import { badArgument } from "../errors.ts";
import { Backlog } from "./backlog.ts";
import { SuffixAutomaton } from "./suffix-automaton.ts";

/** Tokens that are indexed at a time. */
const slice = 2048;
/** Tokens of a text that are looked up when the corpus has been read. */
const back = 64;

/** Token ids and where any run of them occurs first. */
export class Corpus {
  readonly #automaton = new SuffixAutomaton();
  readonly #reading: Backlog;

  constructor(tokens: ArrayLike<number>) {
    this.#reading = new Backlog(tokens, (token) => this.#automaton.append(token), slice);
  }

  /** Reads the next slice. Whether all has been read. */
  advance(): boolean {
    return this.#reading.advance();
  }

  get automaton(): SuffixAutomaton {
    return this.#automaton;
  }
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT */
export function checkCorpus(corpus: unknown): void {
  if (typeof corpus !== "object" || !Number.isInteger((corpus as { length?: unknown } | null)?.length))
    throw badArgument("corpus", "an array or typed array of token ids", corpus);
}

/** Where one text ends in a corpus. */
export class CorpusPlace {
  readonly #corpus: Corpus;
  #place: { state: number; length: number } | undefined;

  constructor(corpus: Corpus) {
    this.#corpus = corpus;
  }

  /** The text goes on with a token. */
  append(token: number): void {
    if (this.#place) this.#place = this.#corpus.automaton.follow(this.#place.state, this.#place.length, token);
  }

  /** The tokens behind the longest end of the text that the corpus has, at most `count`, and how many agree; nothing while it is being read. */
  find(text: Int32Array, end: number, count: number): { tokens: Int32Array; length: number } {
    if (!this.#corpus.advance()) return { tokens: new Int32Array(), length: 0 };
    if (!this.#place) {
      this.#place = { state: 0, length: 0 };
      for (let i = Math.max(0, end - back); i < end; i++) this.append(text[i]);
    }
    const { automaton } = this.#corpus;
    const { length } = this.#place;
    if (length === 0) return { tokens: new Int32Array(), length };
    const { next } = automaton.at(this.#place.state);
    const { values, length: all } = automaton.tokens;
    return { tokens: values.slice(next, Math.min(all, next + count)), length };
  }
}
