// Tokens to text: detokenising, stop strings, statistics.

import type { KvCache } from "../cache/kv-cache.ts";
import type { SpeculationStats } from "../draft/account.ts";
import type { DraftContext } from "../draft/drafter.ts";
import { Drafting } from "../draft/drafting.ts";
import type { Experience } from "../draft/experience.ts";
import { unlessAborted } from "../draft/unless-aborted.ts";
import type { Runtime } from "../model/runtime.ts";
import { Detokenizer } from "../text/detokenizer.ts";
import { StopMatcher } from "../text/stop.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type DecodedToken, decode, emptyStats } from "./decode.ts";
import { plainSeed, type ResolvedOptions } from "./options.ts";
import type { TextSelf } from "./skip-layers.ts";
import { smooth } from "./smooth.ts";

/** Why the output ended: an end token, stop token or stop string; or maxTokens or the context length. */
export type FinishReason = "stop" | "length";

/** Log-probability of a drawn token and of the likeliest alternatives. */
export interface Logprob {
  token: number;
  text: string;
  logprob: number;
  top: { token: number; text: string; logprob: number }[];
}

/** A piece of streamed output. */
export interface Piece {
  /** Complete characters only; may be empty while one is unfinished or a stop string is being matched. */
  text: string;
  tokens: number[];
  logprobs?: Logprob[];
}

/** What a generation cost. Times are engine times; bytes are of the KV cache when it ended. */
export interface GenerationStats {
  promptTokens: number;
  cachedTokens: number;
  generatedTokens: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** From the call to the first token, waiting included; NaN if none was drawn. */
  timeToFirstTokenMs: number;
  totalMs: number;
  kvBytes: number;
  /** What f16 pages would have cost. */
  kvBytesF16: number;
  peakScratchBytes: number;
  /** What drafters did; only where there were any, and more than two tokens to draw. */
  speculation?: SpeculationStats;
}

/** Result of {@link Model.generate}. */
export interface Generation {
  text: string;
  /** Drawn tokens, an end token included. */
  tokens: number[];
  finishReason: FinishReason;
  /** The stop string that was found. */
  stop?: string;
  /** Seed that reproduces the text with the same options, unless they are `approximate`: a number, or a decimal string where a number would round. */
  seed: number | string;
  stats: GenerationStats;
  logprobs?: Logprob[];
}

/** What a generation works on. */
export interface GenerationContext {
  runtime: Runtime;
  tokenizer: Tokenizer;
  endIds: readonly number[];
  experience: Experience;
  draftContext: DraftContext;
}

/**
 * One generation on one cache. `pieces()` runs it; `finish` fields are valid once that has returned.
 */
export class GenerationRun {
  readonly #context: GenerationContext;
  readonly #cache: KvCache;
  readonly #prompt: Int32Array;
  readonly #cached: number;
  readonly #options: ResolvedOptions;
  readonly #started = performance.now();
  #firstToken = Number.NaN;
  readonly #stats = emptyStats();
  #drafting: Drafting | undefined;
  #text = "";
  readonly #allLogprobs: Logprob[] = [];
  finishReason: FinishReason = "length";
  stop: string | undefined;
  readonly tokens: number[] = [];

  constructor(
    context: GenerationContext,
    cache: KvCache,
    prompt: Int32Array,
    cached: number,
    options: ResolvedOptions,
  ) {
    this.#context = context;
    this.#cache = cache;
    this.#prompt = prompt;
    this.#cached = cached;
    this.#options = options;
  }

  #logprobs({ logprob }: DecodedToken): Logprob[] | undefined {
    if (!logprob) return undefined;
    const text = (token: number) => this.#context.tokenizer.decode([token]);
    const top = logprob.top.map((entry) => ({ ...entry, text: text(entry.token) }));
    return [{ token: logprob.token, text: text(logprob.token), logprob: logprob.logprob, top }];
  }

  #piece(piece: Piece): Piece {
    this.#text += piece.text;
    if (piece.logprobs) this.#allLogprobs.push(...piece.logprobs);
    return piece;
  }

  /** Runs the generation. Returning early ends it; the cache keeps what was committed. */
  async *pieces(): AsyncGenerator<Piece, void, undefined> {
    const { runtime, tokenizer, endIds, draftContext } = this.#context;
    const { draft, signal } = this.#options;
    signal?.throwIfAborted();
    for (const drafter of draft === "auto" ? [] : draft) {
      const ready = drafter.prepare?.(draftContext);
      if (ready instanceof Promise) await (signal ? unlessAborted(ready, signal) : ready);
    }
    const detokenizer = new Detokenizer(tokenizer, { continues: true });
    const matcher = new StopMatcher(this.#options.stop);
    let open = true;
    for await (const decoded of decode(
      runtime,
      this.#cache,
      this.#prompt,
      this.#cached,
      endIds,
      this.#options,
      this.#stats,
      this.#options.draft.length > 0 ? (text) => this.#startDrafting(text) : undefined,
    )) {
      if (this.tokens.length === 0) this.#firstToken = performance.now();
      this.tokens.push(decoded.token);
      const { emit, stopped } = matcher.push(decoded.ends ? "" : detokenizer.push(decoded.token));
      if (decoded.ends || stopped !== undefined) {
        this.finishReason = "stop";
        this.stop = stopped;
        open = stopped === undefined;
      }
      const last = decoded.ends && open ? this.#rest(matcher, detokenizer) : "";
      yield this.#piece({ text: emit + last, tokens: [decoded.token], logprobs: this.#logprobs(decoded) });
      if (this.finishReason === "stop") return;
    }
    const rest = this.#rest(matcher, detokenizer);
    if (rest.length > 0) yield this.#piece({ text: rest, tokens: [] });
  }

  /** The same for a reader who waits for each piece: at an even pace if that is wanted. */
  stream(): AsyncGenerator<Piece, void, undefined> {
    return this.#options.smooth ? smooth(this.pieces(), this.#options.signal) : this.pieces();
  }

  #startDrafting(text: Int32Array): Drafting {
    const { experience, draftContext, endIds } = this.#context;
    const { draft } = this.#options;
    const sampling = { ...this.#options, endIds };
    const self: TextSelf = { runtime: this.#context.runtime, cache: this.#cache };
    const drafters = draft === "auto" ? experience.auto : draft;
    this.#drafting = new Drafting(drafters, experience, text, draftContext, sampling, self);
    return this.#drafting;
  }

  #rest(matcher: StopMatcher, detokenizer: Detokenizer): string {
    const { emit, stopped } = matcher.push(detokenizer.flush());
    if (stopped === undefined) return emit + matcher.flush();
    this.stop = stopped;
    return emit;
  }

  /** Seed of the draws. */
  get seed(): number | string {
    return plainSeed(this.#options.seed);
  }

  get stats(): GenerationStats {
    const s = this.#stats;
    const rate = (count: number, seconds: number) => (seconds > 0 ? count / seconds : 0);
    return {
      promptTokens: s.promptTokens,
      cachedTokens: s.cachedTokens,
      generatedTokens: s.generatedTokens,
      prefillTokensPerSecond: rate(s.promptTokens - s.cachedTokens, s.prefillSeconds),
      decodeTokensPerSecond: rate(Math.max(0, s.generatedTokens - 1), s.decodeSeconds),
      timeToFirstTokenMs: this.#firstToken - this.#started,
      totalMs: performance.now() - this.#started,
      kvBytes: this.#cache.bytes,
      kvBytesF16: this.#cache.bytesF16,
      peakScratchBytes: s.peakScratchBytes,
      ...(this.#drafting ? { speculation: this.#drafting.stats } : {}),
    };
  }

  /** Everything in one, once `pieces()` has come to the end. */
  get result(): Generation {
    const result: Generation = {
      text: this.#text,
      tokens: this.tokens,
      finishReason: this.finishReason,
      seed: this.seed,
      stats: this.stats,
    };
    if (this.stop !== undefined) result.stop = this.stop;
    if (this.#options.logprobs !== undefined) result.logprobs = this.#allLogprobs;
    return result;
  }

  /** Runs to the end. */
  async all(): Promise<Generation> {
    for await (const _ of this.pieces());
    return this.result;
  }
}
