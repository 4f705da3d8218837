// A smaller model as a drafter.

import { ChainLength } from "../draft/chain-length.ts";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import type { Drafter } from "../draft/drafter.ts";
import { GreedyApart, PerModel } from "../draft/per-model.ts";
import { type DraftShape, shapeMaker } from "../draft/shapes/options.ts";
import { badArgument, checkOptions } from "../errors.ts";
import type { NativeStoppingHead } from "../native.ts";
import { DraftCaches } from "./draft-caches.ts";
import { ModelDraftSession } from "./draft-model-session.ts";
import { DraftSource } from "./draft-source.ts";
import type { Model } from "./model.ts";
import { readStoppingHead } from "./stopping-head.ts";

/** Options of {@link draftModel}. */
export interface DraftModelOptions {
  /** Tokens that are drafted at most; how many is chosen from what drafting and verifying take and what was accepted. @default 8 */
  maxTokens?: number;
  /** A chain ends where the probabilities of its tokens, multiplied, fall below this; of a tree, nodes are not continued. @default 0.2, of trees 0 */
  minConfidence?: number;
  /** Tokens that are proposed at every place, the drawn one and the likeliest others. @default 1 */
  branches?: number;
  /** A chain, or a tree that is grown level by level: it has its own numbers in place of `maxTokens` and `branches`. @default "chain" */
  shape?: DraftShape;
  /**
   * A head trained for this pair of models (SpecDec++, arXiv:2405.19715) that says of every token, from the draft model's last hidden state after the final norm,
   * how likely it is accepted: a safetensors file that `training/train_head.py` writes. A chain then also ends by `stopAt`; the text is the same. Not for trees. @default none
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
  /** Frees what it has read, and the model if it was loaded from a source; one that was given stays the caller's. Idempotent. */
  dispose(): Promise<void>;
}

/**
 * Drafts with a smaller model (speculative decoding, arXiv:2211.17192, with shared noise): it draws several tokens ahead by the sampling options and
 * the noise of the text. What it has read stays in its KV cache from step to step, and of the last four texts, together no more than a context, for those that begin alike. It pays where the smaller model takes a fraction of the
 * time and says mostly the same. With a `shape` it grows a tree in place of a chain (see {@link DraftShape}). Models of other vocabularies draft with the tokens that both have.
 * @param source a loaded model, which stays yours, or what `load()` takes: it is loaded before the first text that asks for it
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with what loading throws, and with OUTRIDER_UNSUPPORTED if the models
 *   share less than half of their tokens or the head is for a model of another shape, OUTRIDER_FORMAT if it is damaged
 */
export function draftModel(source: Model | string, options: DraftModelOptions = {}): DraftModel {
  checkOptions(options, ["maxTokens", "minConfidence", "branches", "shape", "head", "stopAt"]);
  const { maxTokens = 8, branches = 1, shape = "chain", head, stopAt = 0.7 } = options;
  const makeShape = shapeMaker(shape);
  const { minConfidence = makeShape ? 0 : 0.2 } = options;
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkProbability("minConfidence", minConfidence);
  checkInteger("branches", branches, 1, 8);
  if (head !== undefined && (typeof head !== "string" || head === "")) throw badArgument("head", "a file", head);
  checkProbability("stopAt", stopAt);
  if (head === undefined && options.stopAt !== undefined)
    throw badArgument("stopAt", "nothing without a head", options.stopAt);
  for (const name of ["maxTokens", "branches", "head"] as const)
    if (makeShape && options[name] !== undefined)
      throw badArgument(name, "nothing beside a shape of its own", options[name]);
  const most = makeShape ? JSON.stringify(shape) : maxTokens;
  const model = new DraftSource(source);
  const caches = new DraftCaches();
  const learnt = new PerModel(
    () =>
      new GreedyApart(() => {
        const tree = makeShape?.();
        return { tree, length: new ChainLength(tree?.depth ?? maxTokens) };
      }),
  );
  let reading: Promise<NativeStoppingHead> | undefined;
  let stop: NativeStoppingHead | undefined;
  return {
    name: "draftModel",
    get kind() {
      return `draftModel ${model.fingerprint}, at most ${most}${head === undefined ? "" : ", with a head"}`;
    },
    async prepare(context) {
      await model.prepare(context);
      if (head === undefined) return;
      reading ??= readStoppingHead(head, model.parts.runtime.spec);
      stop = await reading.catch((error: unknown) => {
        reading = undefined; // what failed may be tried again
        throw error;
      });
    },
    start(tokens, context, sampling) {
      const { tree, length } = learnt.of(context).of(sampling);
      const how = { minConfidence, branches, stop, stopAt, shape: tree };
      return new ModelDraftSession(model.parts, model.bridge(context), length, tokens, sampling, how, caches);
    },
    dispose() {
      caches.close();
      return model.dispose();
    },
  };
}
