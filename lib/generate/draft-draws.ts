import type { DraftSampling } from "../draft/drafter.ts";
import type { NativeSampler } from "../native.ts";
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
