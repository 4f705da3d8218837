// A smaller model as a drafter.

import { ChainLengths } from "../draft/chain-length.ts";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import type { DraftContext, Drafter } from "../draft/drafter.ts";
import { checkOptions } from "../errors.ts";
import { ModelDraftSession } from "./draft-model-session.ts";
import { DraftSource } from "./draft-source.ts";
import type { Model } from "./model.ts";

/** Options of {@link draftModel}. */
export interface DraftModelOptions {
  /** Tokens that are drafted at most; how many is chosen from what drafting and verifying take and what was accepted. @default 8 */
  maxTokens?: number;
  /** A chain ends where the probabilities of its tokens, multiplied, fall below this. @default 0.2 */
  minConfidence?: number;
  /** Tokens that are proposed at every place, the drawn one and the likeliest others. @default 1 */
  branches?: number;
}

/** A drafter that draws from a model of its own. */
export interface DraftModel extends Drafter {
  /** Frees the model if it was loaded from a source; one that was given stays the caller's. Idempotent. */
  dispose(): Promise<void>;
}

/**
 * Drafts with a smaller model (speculative decoding, arXiv:2211.17192, with shared noise): it draws several tokens ahead by the sampling options and
 * the noise of the text, and keeps what it has in its KV cache from step to step. It pays where the smaller model takes a fraction of the
 * time and says mostly the same. Models of other vocabularies draft with the tokens that both have.
 * @param source a loaded model, which stays yours, or what `load()` takes: it is loaded before the first text that asks for it
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with what loading throws, and with OUTRIDER_UNSUPPORTED if the models
 *   share less than half of their tokens
 */
export function draftModel(source: Model | string, options: DraftModelOptions = {}): DraftModel {
  checkOptions(options, ["maxTokens", "minConfidence", "branches"]);
  const { maxTokens = 8, minConfidence = 0.2, branches = 1 } = options;
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkProbability("minConfidence", minConfidence);
  checkInteger("branches", branches, 1, 8);
  const model = new DraftSource(source);
  const learnt = new WeakMap<DraftContext, ChainLengths>();
  return {
    name: "draftModel",
    get kind() {
      return `draftModel ${model.fingerprint}, at most ${maxTokens}`;
    },
    prepare: (context) => model.prepare(context),
    start(tokens, context, sampling) {
      const lengths = learnt.get(context) ?? new ChainLengths(maxTokens);
      learnt.set(context, lengths);
      const length = lengths.of(sampling);
      const { parts } = model;
      return new ModelDraftSession(parts, model.bridge(context), length, tokens, sampling, { minConfidence, branches });
    },
    dispose: () => model.dispose(),
  };
}
