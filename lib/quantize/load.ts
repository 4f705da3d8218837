// load(): what users call, with quantisation on the way.

import { checkCallback, checkSignal } from "../generate/arguments.ts";
import type { Model } from "../generate/model.ts";
import { type LoadProgress as FileProgress, load as loadFiles, type LoadOptions as Options } from "../generate/open.ts";
import { quantizedSource } from "./on-load.ts";
import { checkWeights, type WeightsOptions } from "./weights-options.ts";

/** Progress of {@link load}: bytes downloaded from the hub, matrices quantised, or bytes of weights packed. */
export interface LoadProgress extends Omit<FileProgress, "phase"> {
  phase: FileProgress["phase"] | "quantization";
}

/** Options of {@link load}. */
export interface LoadOptions extends Omit<Options, "onProgress"> {
  /**
   * Quantises the model: the first time, which takes seconds to minutes; the result is kept under a hash of the model's files in
   * OUTRIDER_CACHE, or the user's cache folder. It loses quality, which a warning says: quantizeModel() makes better weights.
   */
  weights?: WeightsOptions;
  onProgress?: (progress: LoadProgress) => void;
}

/**
 * Loads a model.
 * @param source nothing for the default model; a folder with config.json and safetensors, or with one GGUF file; a .gguf file; or a
 *   hub id.
 * @throws what `onProgress` throws; {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_FORMAT, OUTRIDER_UNSUPPORTED, OUTRIDER_ARGUMENT,
 *   OUTRIDER_NETWORK, OUTRIDER_MEMORY, and with `weights` OUTRIDER_IO.
 * @example await using model = await load("models/tiny", { weights: { bits: 4 } });
 */
export async function load(source?: string, options: LoadOptions = {}): Promise<Model> {
  if (options?.weights === undefined) return loadFiles(source, options as Options);
  const { weights, ...rest } = options;
  const { threads, signal, revision, onProgress } = rest;
  checkWeights(weights);
  checkSignal(signal);
  checkCallback("onProgress", onProgress);
  signal?.throwIfAborted();
  const report = (progress: { loaded: number; total: number }) => onProgress?.({ phase: "quantization", ...progress });
  const folder = await quantizedSource(source, weights, { threads, signal, revision, onProgress: report });
  return loadFiles(folder, { ...rest, revision: undefined });
}
