// Hypotheses of superposed decoding: several texts that all go on by one law, and the best of what they become.

import { type Ends, endsAfter } from "../draft/counted-text.ts";
import { NgramLaw } from "../draft/ngram-law.ts";
import { OutriderError } from "../errors.ts";
import { StopMatcher } from "../text/stop.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** A text behind the prompt. */
export interface Hypothesis {
  readonly tokens: readonly number[];
  /** Log-probability, as superposed decoding has it. */
  readonly score: number;
  /** Bytes of the text, one in each character, special tokens and a stop string left out. */
  readonly bytes: string;
  /** It ended with an end token, a stop token or a stop string. */
  readonly ended: boolean;
  readonly stop?: string;
  /** Where it ends in the counts, prompt included. */
  readonly places: readonly Ends[];
}

/** What decides which hypotheses there are. */
export interface HypothesesOptions {
  n: number;
  /** Share of the counts in the score of a token. */
  alpha: number;
  stop: readonly string[];
  /** Tokens that end a hypothesis. */
  ends: ReadonlySet<number>;
}

const utf8 = (text: string) => Buffer.from(text, "utf8").toString("latin1");

/** The best `n` texts: those that have ended keep their places, the others go on. */
export class Hypotheses {
  readonly #options: HypothesesOptions;
  readonly #tokenizer: Tokenizer;
  /** Stop strings by their bytes. */
  readonly #stops: ReadonlyMap<string, string>;
  readonly #longestStop: number;
  readonly #ended: Hypothesis[] = [];
  #alive: Hypothesis[];

  /** @param places where the prompt ends in the counts */
  constructor(tokenizer: Tokenizer, places: readonly Ends[], options: HypothesesOptions) {
    this.#options = options;
    this.#tokenizer = tokenizer;
    this.#stops = new Map(options.stop.map((stop) => [utf8(stop), stop]));
    this.#longestStop = Math.max(0, ...[...this.#stops.keys()].map((bytes) => bytes.length));
    this.#alive = [{ tokens: [], score: 0, bytes: "", ended: false, places }];
  }

  /** Those that go on. */
  get alive(): readonly Hypothesis[] {
    return this.#alive;
  }

  /** All, the likeliest first, each text once. */
  get best(): Hypothesis[] {
    const all = [...this.#ended, ...this.#alive].sort((a, b) => b.score - a.score);
    return all.filter(({ bytes }, i) => all.findIndex((other) => other.bytes === bytes) === i);
  }

  /** Last tokens of those that go on, each once, with the probabilities of their hypotheses, which add up to 1. */
  superposition(): { mix: Int32Array; mixWeights: Float32Array } {
    const most = Math.max(...this.#alive.map(({ score }) => score));
    const weights = new Map<number, number>();
    let total = 0;
    for (const { tokens, score } of this.#alive) {
      const token = tokens[tokens.length - 1];
      const weight = Math.exp(score - most);
      weights.set(token, (weights.get(token) ?? 0) + weight);
      total += weight;
    }
    return {
      mix: Int32Array.from(weights.keys()),
      mixWeights: Float32Array.from(weights.values(), (weight) => weight / total),
    };
  }

  /**
   * Every hypothesis goes on with each of the tokens; the best of all are kept.
   * @param law log-probabilities of the tokens
   * @throws {OutriderError} OUTRIDER_ARGUMENT if none is a number
   */
  extend(law: readonly { token: number; logprob: number }[]): void {
    const possible = law.filter(({ logprob }) => logprob > Number.NEGATIVE_INFINITY);
    if (possible.length === 0)
      throw new OutriderError("OUTRIDER_ARGUMENT", "Expected a finite logit to continue with, received none");
    const { n, alpha } = this.#options;
    const candidates = this.#alive.flatMap((from) => {
      const counts = new NgramLaw(from.places);
      return possible.map(({ token, logprob }) => {
        const more = alpha > 0 && counts.known ? Math.log(counts.probability(token, Math.exp(logprob))) - logprob : 0;
        return { from, token, score: from.score + logprob + alpha * more };
      });
    });
    candidates.sort((a, b) => b.score - a.score);
    const key = ({ ended, bytes }: Hypothesis) => (ended ? "ended:" : "alive:") + bytes;
    const texts = new Set(this.#ended.map(key));
    this.#alive = [];
    for (const { from, token, score } of candidates) {
      // What is too unlikely for a double is no candidate.
      if (this.#ended.length + this.#alive.length === n || score === Number.NEGATIVE_INFINITY) break;
      const next = this.#after(from, token, score);
      if (texts.has(key(next))) continue; // the likelier way to the same text is there already
      texts.add(key(next));
      (next.ended ? this.#ended : this.#alive).push(next);
    }
  }

  #after(from: Hypothesis, token: number, score: number): Hypothesis {
    const tokens = [...from.tokens, token];
    const { specialIds } = this.#tokenizer;
    const ends = this.#options.ends.has(token);
    const more = ends || specialIds.has(token) ? "" : Buffer.from(this.#tokenizer.bytesOf(token)).toString("latin1");
    const places = ends ? [] : endsAfter(from.places, token);
    const bytes = from.bytes + more;
    // Only what the token completes: the text before it had no stop string.
    const begin = Math.max(0, from.bytes.length - this.#longestStop);
    const { emit, stopped } = new StopMatcher([...this.#stops.keys()]).push(bytes.slice(begin));
    if (stopped === undefined) return { tokens, score, bytes, ended: ends, places };
    const stop = this.#stops.get(stopped);
    return { tokens, score, bytes: bytes.slice(0, begin) + emit, ended: true, stop, places: [] };
  }
}
