// A smaller model as a drafter that works while the model does.

import { availableParallelism } from "node:os";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import { MeanTime } from "../draft/mean-time.ts";
import { badArgument, checkOptions, checkThreads, OutriderError } from "../errors.ts";
import type { DraftModel } from "./draft-model.ts";
import { DraftSource } from "./draft-source.ts";
import type { Model } from "./model.ts";
import { PearlSession } from "./pearl-session.ts";
import type { TextSelf } from "./skip-layers.ts";

/** Options of {@link pearl}. */
export interface PearlOptions {
  /** Tokens that are proposed at most; as many are drafted as fit the time of the step beside. @default 8 */
  maxTokens?: number;
  /** A proposal ends where the probabilities of its tokens, multiplied, fall below this. @default 0.2 */
  minConfidence?: number;
  /** Threads of the draft model, apart from those of the model. What is drafted does not depend on them. @default 1 */
  threads?: number;
  /** Drafts even where the model and the draft model do not have a core for each of their threads, which makes both slower. @default false */
  crowded?: boolean;
}

/**
 * Drafts with a smaller model while the model verifies (PEARL, arXiv:2408.11850, with shared noise). As long as all is accepted, the
 * draft goes on from its own tokens beside the step that evaluates them (post-verify); after a rejection it starts anew beside a step without drafts, which
 * draws the first of its tokens (pre-verify). So drafting takes no time of its own where the draft model has cores to itself: `load()` the model with
 * fewer `threads` than there are cores. It does not pay where the two share cores, as they mostly do on a machine of two, and little where they
 * wait for the same memory: there `draftModel()`, which drafts with all threads in turn, is as fast or faster. Without a core for each thread of both it is switched off with a warning that says so. Never
 * part of `draft: "auto"`.
 * @param source a loaded model, which stays yours, or what `load()` takes: it is loaded before the first text that asks for it
 * @throws {OutriderError} OUTRIDER_ARGUMENT; calls that draft with it reject with what loading throws, and with OUTRIDER_UNSUPPORTED if the models
 *   share less than half of their tokens
 */
export function pearl(source: Model | string, options: PearlOptions = {}): DraftModel {
  checkOptions(options, ["maxTokens", "minConfidence", "threads", "crowded"]);
  const { maxTokens = 8, minConfidence = 0.2, threads = 1, crowded = false } = options;
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkProbability("minConfidence", minConfidence);
  checkThreads(threads);
  if (typeof crowded !== "boolean") throw badArgument("crowded", "true or false", crowded);
  const model = new DraftSource(source);
  const settings = { maxTokens, minConfidence, threads, token: new MeanTime(), wanted: true };
  return {
    name: "pearl",
    get kind() {
      return `pearl ${model.fingerprint}, at most ${maxTokens}`;
    },
    prepare: (context) => model.prepare(context),
    start(tokens, context, sampling, self) {
      const wanted = threads + ((self as TextSelf | undefined)?.runtime.options.threads ?? 0);
      const cores = availableParallelism();
      if (!crowded && wanted > cores)
        throw new OutriderError(
          "OUTRIDER_UNSUPPORTED",
          `Expected ${wanted} cores, one for each thread of the model and of its drafts, received ${cores}: load the model with fewer threads`,
        );
      return new PearlSession(model.parts, model.bridge(context), tokens, sampling, settings);
    },
    dispose: () => model.dispose(),
  };
}
