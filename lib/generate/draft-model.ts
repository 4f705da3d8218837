// A smaller model as a drafter.

import { ChainLengths } from "../draft/chain-length.ts";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import type { DraftContext, Drafter } from "../draft/drafter.ts";
import { type DraftShape, Shapes, shapeMaker } from "../draft/shapes/options.ts";
import { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import { badArgument, checkOptions, OutriderError } from "../errors.ts";
import { ModelDraftSession } from "./draft-model-session.ts";
import type { Model } from "./model.ts";
import { load } from "./open.ts";
import { type ModelParts, partsOf } from "./parts.ts";

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
  shapes?: Shapes;
}

/**
 * Drafts with a smaller model (speculative decoding, arXiv:2211.17192, with shared noise): it draws several tokens ahead by the sampling options and
 * the noise of the text, and keeps what it has in its KV cache from step to step. It pays where the smaller model takes a fraction of the
 * time and says mostly the same. With a `shape` it grows a tree in place of a chain (see {@link DraftShape}). Models of other vocabularies draft with the tokens that both have.
 * @param source a loaded model, which stays yours, or what `load()` takes: it is loaded before the first text that asks for it
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with what loading throws, and with OUTRIDER_UNSUPPORTED if the models
 *   share less than half of their tokens
 */
export function draftModel(source: Model | string, options: DraftModelOptions = {}): DraftModel {
  checkOptions(options, ["maxTokens", "minConfidence", "branches", "shape"]);
  const { maxTokens = 8, branches = 1, shape = "chain" } = options;
  const makeShape = shapeMaker(shape);
  const { minConfidence = makeShape ? 0 : 0.2 } = options;
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkProbability("minConfidence", minConfidence);
  checkInteger("branches", branches, 1, 8);
  for (const name of ["maxTokens", "branches"] as const)
    if (makeShape && options[name] !== undefined)
      throw badArgument(name, "nothing beside a shape of its own", options[name]);
  const most = makeShape ? JSON.stringify(shape) : maxTokens;
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
  const pairs = new WeakMap<DraftContext, Pair>();
  return {
    name: "draftModel",
    get kind() {
      return `draftModel ${parts?.draftContext.fingerprint}, at most ${most}`;
    },
    async prepare(context) {
      const { tokenizer } = await open();
      if (pairs.has(context)) return;
      const draft = { vocab: tokenizer.vocabSize, bytesOf: (id: number) => tokenizer.bytesOf(id) };
      const bridge = new VocabularyBridge(context, draft);
      bridge.check();
      const shapes = makeShape && new Shapes(makeShape);
      pairs.set(context, { bridge, lengths: new ChainLengths(shapes?.depth ?? maxTokens), shapes });
    },
    start(tokens, context, sampling) {
      const { bridge, lengths, shapes } = pairs.get(context) as Pair;
      const how = { minConfidence, branches, shape: shapes?.of(sampling) };
      return new ModelDraftSession(parts as ModelParts, bridge, lengths.of(sampling), tokens, sampling, how);
    },
    async dispose() {
      unwanted.abort(gone());
      const model = await loading?.catch(() => undefined); // whoever asked for it hears of it
      await model?.dispose();
    },
  };
}
