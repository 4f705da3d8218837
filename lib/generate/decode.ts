// The loop: prefill, then one native call per token, or per few where a token takes less time than a call is worth.

import type { KvCache } from "../cache/kv-cache.ts";
import { OutriderError } from "../errors.ts";
import type { Runtime } from "../model/runtime.ts";
import { type NativeBatchResult, type NativeSampler, native, want } from "../native.ts";
import type { ResolvedOptions } from "./options.ts";

// A call draws tokens ahead for so long at most: what a reader of the stream does not notice, nor an abort.
const secondsAhead = 0.016;
const mostAhead = 8;

/** A token with its log-probability under the raw logits. */
export interface TokenLogprob {
  token: number;
  logprob: number;
}

/** One drawn token. */
export interface DecodedToken {
  token: number;
  /** The token ends the output. */
  ends: boolean;
  logprob?: TokenLogprob & { top: TokenLogprob[] };
}

/** Where the time went; filled in while the loop runs. */
export interface DecodeStats {
  promptTokens: number;
  /** Prompt tokens that were in the KV cache already. */
  cachedTokens: number;
  generatedTokens: number;
  prefillSeconds: number;
  decodeSeconds: number;
  /** Of decodeSeconds, in kernels. */
  decodeKernelSeconds: number;
  peakScratchBytes: number;
}

export const emptyStats = (): DecodeStats => ({
  promptTokens: 0,
  cachedTokens: 0,
  generatedTokens: 0,
  prefillSeconds: 0,
  decodeSeconds: 0,
  decodeKernelSeconds: 0,
  peakScratchBytes: 0,
});

/** Draws tokens for {@link decode}. */
export function makeSampler(
  options: ResolvedOptions,
  vocab: number,
  prompt: Int32Array,
  cached: number,
  endIds: readonly number[],
): NativeSampler {
  const forbidden = [...options.logitBias].filter(([, bias]) => bias === Number.NEGATIVE_INFINITY).map(([id]) => id);
  const biased = [...options.logitBias].filter(([, bias]) => bias !== Number.NEGATIVE_INFINITY);
  return new native.NativeSampler({
    vocab,
    temperature: options.temperature,
    topK: options.topK,
    topP: options.topP,
    minP: options.minP,
    typicalP: options.typicalP,
    repetitionPenalty: options.repetitionPenalty,
    frequencyPenalty: options.frequencyPenalty,
    presencePenalty: options.presencePenalty,
    seed: options.seed,
    history: prompt.slice(0, cached), // the engine appends what it commits
    penaltyWindow: options.penaltyWindow,
    biasIds: Int32Array.from(biased, ([id]) => id),
    bias: Float32Array.from(biased, ([, bias]) => bias),
    suppressed: Int32Array.from(options.ignoreEos ? [...forbidden, ...endIds] : forbidden),
    suppressedEarly: Int32Array.from(options.minTokens > 0 ? [...endIds, ...options.stopTokens] : []),
    minPosition: prompt.length + options.minTokens,
  });
}

function readLogprob(result: NativeBatchResult, count: number, at: number): DecodedToken["logprob"] {
  const { topkIds = new Int32Array(), topkValues = new Float32Array(), logsumexp = new Float32Array(1) } = result;
  const from = at * Math.max(1, count);
  const top = Array.from({ length: count }, (_, i) => ({
    token: topkIds[from + i],
    logprob: topkValues[from + i] - logsumexp[at],
  }));
  return { token: result.sampled[at], logprob: result.sampledLogprob?.[at] ?? Number.NaN, top };
}

/**
 * Evaluates the part of `prompt` that `cache` does not hold yet and draws tokens until an end token, `maxTokens` or a full context.
 * The cache then holds the prompt and every drawn token but the last.
 * @param cached leading tokens of the prompt that the cache holds; fewer than the prompt has
 * @throws the signal's reason; {OutriderError} OUTRIDER_CONTEXT if the prompt does not fit.
 */
export async function* decode(
  runtime: Runtime,
  cache: KvCache,
  prompt: Int32Array,
  cached: number,
  endIds: readonly number[],
  options: ResolvedOptions,
  stats: DecodeStats,
): AsyncGenerator<DecodedToken, void, undefined> {
  if (prompt.length === 0)
    throw new OutriderError("OUTRIDER_ARGUMENT", "Expected at least one token for prompt, received none");
  cache.checkRoom(prompt.length - cached);
  const { vocab } = runtime.spec;
  const sampler = makeSampler(options, vocab, prompt, cached, endIds);
  const ends = new Set([...endIds, ...options.stopTokens]);
  const endList = Int32Array.from(ends);
  const logprobs = options.logprobs;
  const wanted = want.sample | (logprobs === undefined ? 0 : want.topk);
  stats.promptTokens = prompt.length;
  stats.cachedTokens = cached;
  let tokens = prompt.slice(cached);
  const most = Math.min(options.maxTokens, cache.contextLength - prompt.length + 1);
  let taken = 0; // tokens the caller has seen
  let held = cached; // tokens in the cache
  let burst = 1;
  try {
    while (taken < most) {
      const wants = new Uint8Array(tokens.length);
      wants[tokens.length - 1] = wanted;
      const result = await runtime.step(
        {
          caches: [cache],
          samplers: [sampler],
          tokens,
          sequence: new Int32Array(tokens.length),
          wants,
          // Calls that overlap take turns token by token.
          repeat: runtime.busy ? 1 : Math.min(burst, most - taken),
          ends: endList,
          topK: Math.max(1, logprobs ?? 0),
        },
        options.signal,
      );
      const { sampled } = result;
      held += tokens.length + sampled.length - 1;
      stats.peakScratchBytes = Math.max(stats.peakScratchBytes, result.scratchBytes);
      const seconds = result.seconds / sampled.length;
      for (const [i, token] of sampled.entries()) {
        if (taken === 0) stats.prefillSeconds += seconds;
        else {
          stats.decodeSeconds += seconds;
          stats.decodeKernelSeconds += result.kernelSeconds / sampled.length;
        }
        stats.generatedTokens += 1;
        taken += 1;
        const isEnd = ends.has(token);
        const logprob = logprobs === undefined ? undefined : readLogprob(result, logprobs, i);
        yield { token, ends: isEnd, logprob };
        if (isEnd) return;
      }
      tokens = sampled.slice(-1);
      if (taken > 1) burst = Math.max(1, Math.min(mostAhead, Math.floor(secondsAhead / seconds)));
    }
  } finally {
    // What was drawn ahead and not taken goes again.
    const kept = prompt.length + taken - 1;
    if (taken > 0 && held > kept && !cache.disposed) cache.truncate(kept);
  }
}
