// End-to-end distillation of a quantised model: native/quantize/distillation.h, with checkpoints and progress.

import { createHash } from "node:crypto";
import { OutriderError } from "../errors.ts";
import { settle } from "../model/runtime.ts";
import { type NativeDistiller, native, type TrainedBlock } from "../native.ts";
import type { CalibrationTokens } from "./calibration.ts";
import type { Source } from "./model.ts";
import type { ResolvedQuantize } from "./options.ts";
import type { FinishedBlock, Run } from "./run.ts";
import { embeddingGroup } from "./tables.ts";

/** First learning rate, relative to the size of what is trained. */
const rate = 0.001;
/** Sequences on which the divergence is measured before and after. */
const probes = 8;
/** Divergence in nats a token from which gradients may be computed in bf16, whose rounding costs about a hundredth of it. */
const rough = 0.1;
/** Seconds of work that a killed run loses at most. */
const checkpointSeconds = 120;

const stateName = "distillation";
const never = () => false;

interface Progress {
  /** Hash of the tokens and the options. */
  of: string;
  steps: number;
  before: number;
}

/** What distillation made. */
export interface Distilled {
  /** Mean KL divergence from the original in nats a token, on up to eight of the calibration sequences. */
  divergence: { before: number; after: number };
  /** Scales, zeros and norms of each block. */
  blocks: TrainedBlock[];
  finalNorm: Float32Array;
}

/**
 * Trains scales, zeros and norms of all blocks on what the original model says. Undefined if that brought nothing, or for a family
 * without a backward pass.
 * @param block the quantised blocks
 */
export async function distil(
  { config, weights }: Source,
  options: ResolvedQuantize,
  run: Run,
  tokens: CalibrationTokens,
  block: (layer: number) => Promise<FinishedBlock<unknown>>,
): Promise<Distilled | undefined> {
  const { threads, seed, embeddings, distillSteps: steps, signal } = options;
  const { spec } = config;
  const tables = { tableBits: embeddings, tableGroup: embeddingGroup };
  const source = { spec, weights: weights.weights, files: weights.files };
  options.onProgress?.({ phase: "distillation", done: 0, total: steps });
  let distiller: NativeDistiller | undefined;
  try {
    const job = native.distiller({ ...source, ...tokens, threads, ...tables, seed, rate, steps });
    distiller = await settle(job, signal, never);
    for (let l = 0; l < spec.layers.length; l++) {
      const { matrices, norms } = await block(l);
      await settle(distiller.block({ parts: matrices, norms }), signal, never);
    }
    await settle(distiller.ready(), signal, never);
    return await train(distiller, spec.layers.length, options, run, tokens);
  } catch (error) {
    if (error instanceof OutriderError && error.code === "OUTRIDER_UNSUPPORTED") return undefined;
    throw error;
  } finally {
    distiller?.dispose();
  }
}

async function train(
  distiller: NativeDistiller,
  layers: number,
  { seed, embeddings, distillSteps: steps, signal, onProgress }: ResolvedQuantize,
  run: Run,
  tokens: CalibrationTokens,
): Promise<Distilled | undefined> {
  const options = { tableBits: embeddings, tableGroup: embeddingGroup, seed, rate, steps };
  const of = createHash("sha256")
    .update(JSON.stringify([options, tokens.lengths.length]))
    .update(tokens.tokens)
    .digest("hex");
  const found = await run.state<Progress>(stateName);
  const earlier = found?.progress.of === of ? found : undefined;
  const before = earlier?.progress.before ?? (await settle(distiller.divergence(probes), signal, never));
  const from = earlier?.progress.steps ?? 0;
  if (earlier) distiller.restore(earlier.state, from);
  const save = (done: number) =>
    run.writeState(stateName, distiller.state(), { of, steps: done, before } satisfies Progress);
  const start = performance.now();
  let saved = start;
  for (let step = from; step < steps; step++) {
    try {
      await settle(distiller.step(before >= rough), signal, never);
    } catch (error) {
      if (signal?.aborted) await save(step); // a step that was aborted has changed nothing
      throw error;
    }
    const now = performance.now();
    const secondsLeft = ((now - start) / 1e3 / (step + 1 - from)) * (steps - step - 1);
    onProgress?.({ phase: "distillation", done: step + 1, total: steps, secondsLeft });
    if (now - saved < checkpointSeconds * 1e3 && step + 1 < steps) continue;
    await save(step + 1);
    saved = now;
  }
  distiller.round();
  const after = await settle(distiller.divergence(probes), signal, never);
  if (!(after < before)) return undefined;
  return {
    divergence: { before, after },
    blocks: Array.from({ length: layers }, (_, l) => distiller.take(l)),
    finalNorm: distiller.finalNorm(),
  };
}
