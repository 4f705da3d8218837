// The loop: prefill, then one native call per token.

import type { KvCache } from "../cache/kv-cache.ts";
import { OutriderError } from "../errors.ts";
import type { Runtime } from "../model/runtime.ts";
import { type NativeBatchResult, type NativeSampler, native, want } from "../native.ts";
import type { ResolvedOptions } from "./options.ts";

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

function readLogprob(result: NativeBatchResult, count: number): DecodedToken["logprob"] {
  const { topkIds = new Int32Array(), topkValues = new Float32Array(), logsumexp = new Float32Array(1) } = result;
  const top = Array.from({ length: count }, (_, i) => ({ token: topkIds[i], logprob: topkValues[i] - logsumexp[0] }));
  return { token: result.sampled[0], logprob: result.sampledLogprob?.[0] ?? Number.NaN, top };
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
  const logprobs = options.logprobs;
  const wanted = want.sample | (logprobs === undefined ? 0 : want.topk);
  stats.promptTokens = prompt.length;
  stats.cachedTokens = cached;
  let tokens = prompt.slice(cached);
  const room = cache.contextLength - prompt.length + 1;
  for (let drawn = 0; drawn < Math.min(options.maxTokens, room); drawn++) {
    const wants = new Uint8Array(tokens.length);
    wants[tokens.length - 1] = wanted;
    const batch = {
      caches: [cache],
      samplers: [sampler],
      tokens,
      sequence: new Int32Array(tokens.length),
      wants,
      topK: Math.max(1, logprobs ?? 0),
    };
    const result = await runtime.step(batch, options.signal);
    if (drawn === 0) stats.prefillSeconds += result.seconds;
    else {
      stats.decodeSeconds += result.seconds;
      stats.decodeKernelSeconds += result.kernelSeconds;
    }
    stats.peakScratchBytes = Math.max(stats.peakScratchBytes, result.scratchBytes);
    stats.generatedTokens += 1;
    const token = result.sampled[0];
    const isEnd = ends.has(token);
    yield { token, ends: isEnd, logprob: logprobs === undefined ? undefined : readLogprob(result, logprobs) };
    if (isEnd) return;
    tokens = Int32Array.of(token);
  }
}
