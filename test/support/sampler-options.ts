// Native samplers for tests of the engine batch.
import { type NativeSampler, type NativeSamplerOptions, native } from "../../lib/native.ts";

/** Greedy unless told otherwise. */
export function greedySampler(vocab: number, options: Partial<NativeSamplerOptions> = {}): NativeSampler {
  return new native.NativeSampler({
    vocab,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    typicalP: 1,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    seed: 1n,
    history: new Int32Array(),
    penaltyWindow: 0,
    biasIds: new Int32Array(),
    bias: new Float32Array(),
    suppressed: new Int32Array(),
    suppressedEarly: new Int32Array(),
    minPosition: 0,
    ...options,
  });
}
