import type { KvCache } from "../cache/kv-cache.ts";
import type { DraftSampling } from "../draft/drafter.ts";
import { type NativeSampler, want } from "../native.ts";
import { makeSampler } from "./decode.ts";

/** Draws drafts as a text is drawn, with its noise. */
export class DraftDraws {
  readonly #make: (history: Int32Array) => NativeSampler;
  readonly #penalised: boolean;
  #sampler: NativeSampler | undefined;

  /** @param promptLength tokens before the first one drawn */
  constructor(sampling: DraftSampling, vocab: number, promptLength: number) {
    const { repetitionPenalty, frequencyPenalty, presencePenalty } = sampling;
    this.#penalised = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
    this.#make = (history) => makeSampler(sampling, vocab, history, promptLength);
  }

  /** A sampler for what follows `count` tokens of the text. Only penalties look at what a sampler has seen, which only grows. */
  after(text: readonly number[], count: number): NativeSampler {
    if (this.#penalised) return this.#make(Int32Array.from(text.slice(0, count)));
    this.#sampler ??= this.#make(new Int32Array());
    return this.#sampler;
  }
}

/**
 * A step that appends tokens and draws up to `count` more in one call.
 * @param topK likeliest tokens that are wanted at every place. @default 1
 */
export function drawAhead(
  cache: KvCache,
  sampler: NativeSampler,
  tokens: Int32Array,
  count: number,
  endIds: readonly number[],
  topK = 1,
) {
  const wants = new Uint8Array(tokens.length);
  wants[tokens.length - 1] = want.sample | want.topk;
  const rows = { tokens, sequence: new Int32Array(tokens.length), wants, topK };
  return { ...rows, caches: [cache], samplers: [sampler], repeat: count, ends: Int32Array.from(endIds) };
}
