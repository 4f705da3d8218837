// Superposed decoding: several continuations of a prompt from one forward pass a token.

import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import { type Ends, endsAfter } from "../draft/counted-text.ts";
import { badArgument } from "../errors.ts";
import { type NativeBatchResult, want } from "../native.ts";
import { checkOptions, checkPrompt } from "./arguments.ts";
import { checkTexts, corpusCounts, countTexts, longestRun } from "./corpus-counts.ts";
import type { FinishReason } from "./generation.ts";
import { Hypotheses, type Hypothesis } from "./hypotheses.ts";
import { type GenerateOptions, resolveOptions } from "./options.ts";
import type { ModelParts } from "./parts.ts";

/** Options of {@link Model.superposed}. */
export interface SuperposedOptions
  extends Pick<GenerateOptions, "maxTokens" | "stop" | "stopTokens" | "ignoreEos" | "signal"> {
  /** Continuations, 1 to 64. @default 3 */
  n?: number;
  /** Share of n-gram counts in the score of a token, 0 to 1; the rest is the model's. @default 0.54 */
  alpha?: number;
  /** Tokens that each hypothesis may go on with at a step, 1 to 512: the likeliest, and `n` at least. @default 9 */
  candidates?: number;
  /**
   * Divides the logits of the candidates, above 0. The smaller it is, the more the likeliest hypothesis has of the mix, and the nearer the texts
   * are to what the model says alone. @default 0.06, as its authors have it
   */
  temperature?: number;
  /**
   * Texts like those wanted, whose runs of 2 to 6 tokens are counted beside those of the prompt. The counts of the last corpus are kept with the
   * model, some hundred bytes a token, so that calls with the same one count it once. A text is made into tokens at a stretch; several short
   * ones hold up the event loop less than a long one. @default none
   */
  corpus?: string | readonly string[];
}

/** One of the continuations of {@link Superposed}. */
export interface SuperposedContinuation {
  text: string;
  /** Its tokens, an end token included. */
  tokens: number[];
  /** Sum over the tokens of their log-probabilities among the candidates, those of the sharpened law and the counts'; at most 0. */
  score: number;
  finishReason: FinishReason;
  /** The stop string that was found. */
  stop?: string;
}

/** What a call cost. */
export interface SuperposedStats {
  promptTokens: number;
  /** Tokens of all continuations. */
  tokens: number;
  /** Forward passes: one for the prompt, then one a token for all hypotheses together. */
  steps: number;
  /** From the call to the end, counting and waiting included. */
  seconds: number;
}

/** Result of {@link Model.superposed}. */
export interface Superposed {
  /** The likeliest first, all different; fewer than `n` where the model and the candidates leave no more. */
  continuations: SuperposedContinuation[];
  stats: SuperposedStats;
}

/** Options with every default filled in. */
export type ResolvedSuperposed = ReturnType<typeof resolveSuperposed>;

/**
 * Checks options and fills in defaults.
 * @param vocab vocabulary size, for token ids
 * @throws {OutriderError} OUTRIDER_ARGUMENT naming the option, unknown ones included.
 */
export function resolveSuperposed(options: SuperposedOptions, vocab: number) {
  const shared = ["maxTokens", "stop", "stopTokens", "ignoreEos", "signal"];
  checkOptions(options, ["n", "alpha", "candidates", "temperature", "corpus", ...shared]);
  const { n = 3, alpha = 0.54, candidates = 9, temperature = 0.06, corpus = [], ...generation } = options;
  checkInteger("n", n, 1, 64);
  checkProbability("alpha", alpha);
  checkInteger("candidates", candidates, 1, 512);
  if (typeof temperature !== "number" || !(temperature > 0 && temperature < Number.POSITIVE_INFINITY))
    throw badArgument("temperature", "a finite number above 0", temperature);
  const { maxTokens, stop, stopTokens, ignoreEos, signal } = resolveOptions(generation, {}, vocab);
  const own = { n, alpha, candidates, temperature, corpus: checkTexts(corpus) };
  return { ...own, maxTokens, stop, stopTokens, ignoreEos, signal };
}

const continuation = ({ tokens, score, bytes, ended, stop }: Hypothesis): SuperposedContinuation => ({
  text: Buffer.from(bytes, "latin1").toString("utf8"),
  tokens: [...tokens],
  score,
  finishReason: ended ? "stop" : "length",
  ...(stop === undefined ? {} : { stop }),
});

/** A law of the likeliest tokens. @param most tokens @param without tokens that have no part in it */
function lawOf(
  { topkIds = new Int32Array(), topkValues = new Float32Array() }: NativeBatchResult,
  most: number,
  without: ReadonlySet<number>,
  temperature: number,
) {
  const all = Array.from(topkIds, (token, i) => ({ token, logit: topkValues[i] }));
  const best = all.filter(({ token }) => !without.has(token)).slice(0, most);
  const scaled = ({ logit }: { logit: number }) => (logit - best[0].logit) / temperature;
  const normaliser = Math.log(best.reduce((sum, one) => sum + Math.exp(scaled(one)), 0));
  return best.map((one) => ({ token: one.token, logprob: scaled(one) - normaliser }));
}

/** Continues a prompt of token ids. @throws the signal's reason; {OutriderError} as {@link Model.superposed} */
export async function superpose(
  { runtime, tokenizer, endIds }: ModelParts,
  prompt: Int32Array,
  options: ResolvedSuperposed,
): Promise<Superposed> {
  const started = performance.now();
  const { n, alpha, temperature, corpus, maxTokens, stop, stopTokens, ignoreEos, signal } = options;
  signal?.throwIfAborted();
  checkPrompt(prompt);
  const cache = runtime.newCache();
  try {
    cache.checkRoom(prompt.length);
    const most = Math.min(maxTokens, cache.contextLength - prompt.length + 1);
    const tries = [await countTexts([prompt], signal)]; // last: what the prompt says is nearer than what a corpus says
    if (corpus.length > 0) tries.unshift(await corpusCounts(corpus, tokenizer, signal));
    const start: Ends[] = tries.map((trie) => ({ trie, ends: [] }));
    const places = prompt.slice(-longestRun).reduce(endsAfter, start);
    const hypotheses = new Hypotheses(tokenizer, places, {
      ...{ n, alpha, stop },
      ends: new Set([...endIds, ...stopTokens]),
    });
    const without = new Set(ignoreEos ? endIds : []);
    const candidates = Math.max(options.candidates, n);
    const topK = Math.min(candidates + without.size, runtime.spec.vocab);
    let steps = 0;
    while (steps < most && hypotheses.alive.length > 0) {
      const input = steps === 0 ? { tokens: prompt } : hypotheses.superposition();
      const rows = steps === 0 ? prompt.length : 1;
      const wants = new Uint8Array(rows);
      wants[rows - 1] = want.topk;
      const batch = { ...input, caches: [cache], sequence: new Int32Array(rows), wants, topK };
      hypotheses.extend(lawOf(await runtime.step(batch, signal), candidates, without, temperature));
      steps += 1;
    }
    const continuations = hypotheses.best.map(continuation);
    const tokens = continuations.reduce((sum, one) => sum + one.tokens.length, 0);
    const seconds = (performance.now() - started) / 1e3;
    return { continuations, stats: { promptTokens: prompt.length, tokens, steps, seconds } };
  } finally {
    cache.dispose();
  }
}
