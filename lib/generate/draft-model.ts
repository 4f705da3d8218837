// A smaller model as a drafter.

import { ChainLengths } from "../draft/chain-length.ts";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import type { DraftContext, Drafter } from "../draft/drafter.ts";
import { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import { badArgument, checkOptions, OutriderError } from "../errors.ts";
import type { NativeStoppingHead } from "../native.ts";
import { ModelDraftSession } from "./draft-model-session.ts";
import type { Model } from "./model.ts";
import { load } from "./open.ts";
import { type ModelParts, partsOf } from "./parts.ts";
import { readStoppingHead } from "./stopping-head.ts";

/** Options of {@link draftModel}. */
export interface DraftModelOptions {
  /** Tokens that are drafted at most; how many is chosen from what drafting and verifying take and what was accepted. @default 8 */
  maxTokens?: number;
  /** A chain ends where the probabilities of its tokens, multiplied, fall below this. @default 0.2 */
  minConfidence?: number;
  /** Tokens that are proposed at every place, the drawn one and the likeliest others. @default 1 */
  branches?: number;
  /**
   * A head trained for this pair of models (SpecDec++, arXiv:2405.19715) that says of every token, from the draft model's last hidden state after the final norm,
   * how likely it is accepted: a safetensors file that `training/train_head.py` writes. A chain then also ends by `stopAt`; the text is the same. @default none
   */
  head?: string;
  /**
   * With a head: a chain ends where the probability that some token of it is not accepted, as the head says, is above this; 1: never. The token that passes it is
   * kept. @default 0.7
   */
  stopAt?: number;
}

/** A drafter that draws from a model of its own. */
export interface DraftModel extends Drafter {
  /** Frees the model if it was loaded from a source; one that was given stays the caller's. Idempotent. */
  dispose(): Promise<void>;
}

/** What is kept for one pair of models. */
interface Pair {
  bridge: VocabularyBridge;
  lengths: ChainLengths;
}

/**
 * Drafts with a smaller model (speculative decoding, arXiv:2211.17192, with shared noise): it draws several tokens ahead by the sampling options and
 * the noise of the text, and keeps what it has in its KV cache from step to step. It pays where the smaller model takes a fraction of the
 * time and says mostly the same. Models of other vocabularies draft with the tokens that both have.
 * @param source a loaded model, which stays yours, or what `load()` takes: it is loaded before the first text that asks for it
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with what loading throws, and with OUTRIDER_UNSUPPORTED if the models
 *   share less than half of their tokens or the head is for a model of another shape, OUTRIDER_FORMAT if it is damaged
 */
export function draftModel(source: Model | string, options: DraftModelOptions = {}): DraftModel {
  checkOptions(options, ["maxTokens", "minConfidence", "branches", "head", "stopAt"]);
  const { maxTokens = 8, minConfidence = 0.2, branches = 1, head, stopAt = 0.7 } = options;
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkProbability("minConfidence", minConfidence);
  checkInteger("branches", branches, 1, 8);
  if (head !== undefined && (typeof head !== "string" || head === "")) throw badArgument("head", "a file", head);
  checkProbability("stopAt", stopAt);
  if (head === undefined && options.stopAt !== undefined)
    throw badArgument("stopAt", "nothing without a head", options.stopAt);
  const given = typeof source === "object" && source !== null ? partsOf(source) : undefined;
  if (!given && (typeof source !== "string" || source === ""))
    throw badArgument("source", "a loaded model, a path or a hub id", source);

  let loading: Promise<Model> | undefined;
  let parts = given;
  const unwanted = new AbortController();
  const gone = () =>
    new OutriderError("OUTRIDER_DISPOSED", "Expected a live draft model, received one that was disposed");
  const open = async (): Promise<ModelParts> => {
    if (unwanted.signal.aborted) throw gone();
    if (!parts) {
      loading ??= load(source as string, { signal: unwanted.signal });
      const model = await loading.catch((error: unknown) => {
        loading = undefined; // what failed may be tried again
        throw error;
      });
      parts = partsOf(model);
    }
    return parts as ModelParts;
  };
  let reading: Promise<NativeStoppingHead> | undefined;
  let stop: NativeStoppingHead | undefined;
  const pairs = new WeakMap<DraftContext, Pair>();
  return {
    name: "draftModel",
    get kind() {
      return `draftModel ${parts?.draftContext.fingerprint}, at most ${maxTokens}${head === undefined ? "" : ", with a head"}`;
    },
    async prepare(context) {
      const { tokenizer, runtime } = await open();
      if (head !== undefined) {
        reading ??= readStoppingHead(head, runtime.spec);
        stop = await reading.catch((error: unknown) => {
          reading = undefined; // what failed may be tried again
          throw error;
        });
      }
      if (pairs.has(context)) return;
      const draft = { vocab: tokenizer.vocabSize, bytesOf: (id: number) => tokenizer.bytesOf(id) };
      const bridge = new VocabularyBridge(context, draft);
      bridge.check();
      pairs.set(context, { bridge, lengths: new ChainLengths(maxTokens) });
    },
    start(tokens, context, sampling) {
      const { bridge, lengths } = pairs.get(context) as Pair;
      const length = lengths.of(sampling);
      const shape = { minConfidence, branches, stop, stopAt };
      return new ModelDraftSession(parts as ModelParts, bridge, length, tokens, sampling, shape);
    },
    async dispose() {
      unwanted.abort(gone());
      const model = await loading?.catch(() => undefined); // whoever asked for it hears of it
      await model?.dispose();
    },
  };
}
