// Teacher forcing: logits and perplexity of given tokens.

import { badArgument } from "../errors.ts";
import type { Runtime } from "../model/runtime.ts";
import { want } from "../native.ts";
import { Tensor } from "../tensor/tensor.ts";
import { checkCallback, checkOptions, checkSignal } from "./arguments.ts";

/** Options of {@link Model.perplexity}. */
export interface PerplexityOptions {
  /** Tokens of a window; windows do not overlap and each starts without context. @default 1024, or the context length if smaller */
  window?: number;
  /** Windows evaluated. @default all */
  maxWindows?: number;
  signal?: AbortSignal;
  /** Called after each window. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Result of {@link Model.perplexity}. */
export interface Perplexity {
  /** exp of the mean negative log-likelihood per predicted token. */
  perplexity: number;
  /** Per window: summed negative log-likelihood in nats and the tokens predicted. */
  windows: { nll: number; tokens: number }[];
}

/** Logits after each token, `[T, V]`. */
export async function scoreLogits(runtime: Runtime, ids: Int32Array, signal?: AbortSignal): Promise<Tensor<"f32", 2>> {
  if (ids.length === 0) throw badArgument("ids", "at least one token", ids.length);
  const { vocab } = runtime.spec;
  const cache = runtime.newCache();
  try {
    const wants = new Uint8Array(ids.length).fill(want.logits);
    const sequence = new Int32Array(ids.length);
    const { logits } = await runtime.step({ caches: [cache], tokens: ids, sequence, wants }, signal);
    return Tensor.from("f32", logits as Float32Array<ArrayBuffer>, [ids.length, vocab] as const);
  } finally {
    cache.dispose();
  }
}

/** Perplexity over non-overlapping windows; a last window of fewer than two tokens predicts nothing and is dropped. */
export async function scorePerplexity(
  runtime: Runtime,
  ids: Int32Array,
  options: PerplexityOptions,
): Promise<Perplexity> {
  checkOptions(options, ["window", "maxWindows", "signal", "onProgress"]);
  checkSignal(options.signal);
  checkCallback("onProgress", options.onProgress);
  const { contextLength } = runtime.options;
  const { window = Math.min(1024, contextLength), maxWindows = Number.POSITIVE_INFINITY, signal, onProgress } = options;
  if (!Number.isInteger(window) || window < 2 || window > contextLength)
    throw badArgument("window", `an integer from 2 to ${contextLength}`, window);
  if (!(maxWindows >= 1) || (maxWindows !== Number.POSITIVE_INFINITY && !Number.isInteger(maxWindows)))
    throw badArgument("maxWindows", "a positive integer or Infinity", maxWindows);
  const total = Math.min(maxWindows, Math.floor(ids.length / window) + (ids.length % window > 1 ? 1 : 0));
  if (total === 0) throw badArgument("text", "at least two tokens", ids.length);
  const windows: Perplexity["windows"] = [];
  for (let w = 0; w < total; w++) {
    const tokens = ids.slice(w * window, (w + 1) * window);
    const targets = new Int32Array(tokens.length);
    targets.set(tokens.subarray(1));
    const wants = new Uint8Array(tokens.length).fill(want.target);
    wants[tokens.length - 1] = 0;
    const cache = runtime.newCache();
    try {
      const result = await runtime.step(
        { caches: [cache], tokens, sequence: new Int32Array(tokens.length), wants, targets },
        signal,
      );
      let nll = 0;
      for (const logprob of result.targetLogprob ?? []) nll -= logprob;
      windows.push({ nll, tokens: tokens.length - 1 });
    } finally {
      cache.dispose();
    }
    onProgress?.({ done: w + 1, total });
  }
  const nll = windows.reduce((sum, entry) => sum + entry.nll, 0);
  const predicted = windows.reduce((sum, entry) => sum + entry.tokens, 0);
  return { perplexity: Math.exp(nll / predicted), windows };
}
