// compareModels(): what a model lost against another one, on a text.

import { setImmediate } from "node:timers/promises";
import { badArgument, OutriderError } from "../errors.ts";
import { checkCallback, checkOptions, checkSignal } from "../generate/arguments.ts";
import type { Model } from "../generate/model.ts";

/** Options of {@link compareModels}. */
export interface CompareOptions {
  /** Tokens of a window; windows do not overlap and each starts without context. @default 1024, or the shorter context length */
  window?: number;
  /** Windows evaluated. @default all */
  maxWindows?: number;
  signal?: AbortSignal;
  /** Called after each window. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Result of {@link compareModels}. */
export interface Comparison {
  /** exp of the mean negative log-likelihood per predicted token, of each model. */
  perplexity: [number, number];
  /** Kullback-Leibler divergence of the second model's next-token law from the first one's, in nats: mean, 99th percentile, and all percentiles from 0 to 100. */
  kl: { mean: number; p99: number; percentiles: number[] };
  /** Part of the positions where both have the same likeliest token. */
  top1: number;
  /** Predicted tokens. */
  tokens: number;
  /** Bytes of packed weights of each model. */
  weightBytes: [number, number];
}

/** The largest logit, where it is, and log sum exp. */
function summary(row: Float32Array): { best: number; logsumexp: number } {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i] - row[best]);
  return { best, logsumexp: row[best] + Math.log(sum) };
}

function divergence(a: Float32Array, b: Float32Array, aSum: number, bSum: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const log = a[i] - aSum;
    sum += Math.exp(log) * (log - (b[i] - bSum));
  }
  return Math.max(0, sum);
}

/**
 * Compares the next-token laws of two models with one vocabulary on every position of a text.
 * @param a the yardstick, usually the original
 * @throws {OutriderError} OUTRIDER_ARGUMENT for models of different vocabularies or a text of fewer than two tokens.
 * @example const { kl } = await compareModels(original, small, text, { maxWindows: 4 });
 */
export async function compareModels(
  a: Model,
  b: Model,
  text: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  checkOptions(options, ["window", "maxWindows", "signal", "onProgress"]);
  checkSignal(options.signal);
  checkCallback("onProgress", options.onProgress);
  if (typeof text !== "string") throw badArgument("text", "a string", text);
  const ids = a.tokenize(text);
  const others = b.tokenize(text);
  if (a.info.vocab !== b.info.vocab || ids.length !== others.length || ids.some((id, i) => id !== others[i]))
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      "Expected two models with the same vocabulary and tokenizer to compare",
    );
  const context = Math.min(a.info.contextLength, b.info.contextLength);
  const { window = Math.min(1024, context), maxWindows = Number.POSITIVE_INFINITY, signal, onProgress } = options;
  if (!Number.isInteger(window) || window < 2 || window > context)
    throw badArgument("window", `an integer from 2 to ${context}`, window);
  if (!(maxWindows >= 1)) throw badArgument("maxWindows", "a positive integer or Infinity", maxWindows);
  const total = Math.min(maxWindows, Math.floor(ids.length / window) + (ids.length % window > 1 ? 1 : 0));
  if (total === 0) throw badArgument("text", "at least two tokens", ids.length);
  const windows = Array.from({ length: total }, (_, w) => ids.subarray(w * window, (w + 1) * window));
  return compareWindows(a, b, windows, { signal, onProgress });
}

/**
 * {@link compareModels} on sequences of tokens, each without context.
 * @param windows of two tokens or more, within both context lengths
 */
export async function compareWindows(
  a: Model,
  b: Model,
  windows: readonly Int32Array[],
  { signal, onProgress }: Pick<CompareOptions, "signal" | "onProgress"> = {},
): Promise<Comparison> {
  const nll = [0, 0];
  const divergences: number[] = [];
  let same = 0;
  for (const [w, part] of windows.entries()) {
    const [first, second] = [await a.logits(part, { signal }), await b.logits(part, { signal })];
    const vocab = a.info.vocab;
    for (let t = 0; t + 1 < part.length; t++) {
      if (t % 16 === 0) {
        await setImmediate(); // a row takes a millisecond of JavaScript
        signal?.throwIfAborted();
      }
      const rows = [first, second].map(({ data }) => data.subarray(t * vocab, (t + 1) * vocab) as Float32Array);
      const sums = rows.map(summary);
      for (const m of [0, 1]) nll[m] += sums[m].logsumexp - rows[m][part[t + 1]];
      divergences.push(divergence(rows[0], rows[1], sums[0].logsumexp, sums[1].logsumexp));
      if (sums[0].best === sums[1].best) same += 1;
    }
    onProgress?.({ done: w + 1, total: windows.length });
  }
  const tokens = divergences.length;
  const sorted = divergences.toSorted((x, y) => x - y);
  const percentile = (p: number) => sorted[Math.min(tokens - 1, Math.floor((p / 100) * tokens))];
  return {
    perplexity: [Math.exp(nll[0] / tokens), Math.exp(nll[1] / tokens)],
    kl: {
      mean: divergences.reduce((sum, value) => sum + value, 0) / tokens,
      p99: percentile(99),
      percentiles: Array.from({ length: 101 }, (_, p) => percentile(p)),
    },
    top1: same / tokens,
    tokens,
    weightBytes: [a.info.weightBytes, b.info.weightBytes],
  };
}
