// quantizeModel(): any model that outrider runs, as a folder of few bits.

import path from "node:path";
import { readTokenizer } from "../generate/open.ts";
import { watch } from "../generate/watch.ts";
import { settle } from "../model/runtime.ts";
import { type BlockPlan, type NativeQuantizer, native, type QuantizedMatrix } from "../native.ts";
import { budgetPlan, checkBudget, surveyTokens } from "./budget.ts";
import { type CalibrationText, type CalibrationTokens, calibrationText, heldOut, someOf } from "./calibration.ts";
import type { Comparison } from "./compare.ts";
import { contentHash } from "./content-hash.ts";
import { distil } from "./distill.ts";
import { writeCard, writeFolder } from "./folder.ts";
import { measureLoss } from "./measure.ts";
import { openModel, type Source } from "./model.ts";
import {
  type CheckedQuantize,
  checkQuantize,
  type QuantizeModelOptions,
  type QuantizePlan,
  type QuantizeProgress,
  type ResolvedQuantize,
  sizeQuantize,
} from "./options.ts";
import { describePlan, type MatrixShape, uniformPlan } from "./plan.ts";
import { quantizationConfig } from "./quantization-config.ts";
import { type FinishedBlock, Run } from "./run.ts";
import { joinSafetensors, writeSafetensors } from "./safetensors-writer.ts";
import { tableBytes, tableModules, writeFinalNorm, writeTables } from "./tables.ts";
import { blockTensors, type Part, parts } from "./tensors.ts";

/** What became of a block. */
export interface BlockReport {
  /**
   * `loss` is the part of the layer's output energy that is lost on the calibration tokens, `rounded` the same after rounding to nearest
   * alone.
   */
  parts: Record<Part, { loss: number; rounded: number }>;
  /** Of a block that was minimised: the relative error of its output before and after. */
  error?: { before: number; after: number };
}

/** What {@link quantizeModel} made. */
export interface QuantizedModel {
  folder: string;
  /** Bytes of model.safetensors. */
  bytes: number;
  /** Of the matrices of the blocks, scales and zeros counted. */
  bitsPerWeight: number;
  /** Seconds of this call. */
  seconds: number;
  plan: QuantizePlan;
  blocks: BlockReport[];
  /** KL divergence from the original in nats a token before and after distillation, on up to eight of the calibration sequences. */
  divergence?: { before: number; after: number };
  /** What was lost, on up to eight sequences of calibration text that were held out: the original's perplexity and the model's, and so on. */
  measured?: Comparison;
  settings: Pick<
    ResolvedQuantize,
    | "bits"
    | "group"
    | "budget"
    | "method"
    | "rounds"
    | "blockEpochs"
    | "distillSteps"
    | "distillTokens"
    | "embeddings"
    | "calibration"
    | "tokens"
    | "seed"
  >;
}

type Finished = FinishedBlock<BlockReport>;

const blockRate = 0.005;
const blockName = (layer: number) => `block-${String(layer).padStart(4, "0")}`;

/** What a resumed run must agree with: what the source's files hold and the options that change the blocks. */
async function settingsOf(source: Source, options: ResolvedQuantize) {
  const { bits, group, budget, method, rounds, blockEpochs, embeddings, calibration, tokens, window, seed } = options;
  const model = await contentHash(source.weights.files, options.signal, JSON.stringify(source.config.spec));
  return { bits, group, budget, method, rounds, blockEpochs, embeddings, calibration, tokens, window, seed, model };
}

/** The calibration text of a run: what it began with, and more of it if it now wants more. */
async function textOf(
  source: string | undefined,
  text: Awaited<ReturnType<typeof readTokenizer>>,
  run: Run,
  options: ResolvedQuantize,
): Promise<CalibrationText> {
  const known = (await run.read<number[][][]>("calibration"))?.map((windows) =>
    windows.map((ids) => Int32Array.from(ids)),
  );
  const all = await calibrationText(source, text, options, known);
  await run.write(
    "calibration",
    all.map((windows) => windows.map((ids) => Array.from(ids))),
  );
  return all;
}

/** Quantises a block, or takes over what an earlier run made of it. */
async function quantizeBlock(
  quantizer: NativeQuantizer,
  run: Run,
  layer: number,
  shapes: readonly MatrixShape[],
  options: ResolvedQuantize,
  report: (matricesDone: number) => void,
): Promise<Finished & { earlier: boolean }> {
  const { method, rounds, blockEpochs: epochs, seed, signal, onProgress } = options;
  const before = await run.block<BlockReport>(blockName(layer), shapes);
  const own = shapes.map(({ bits, group }, i) => ({ ...before?.matrices[i], bits, group, method, rounds }));
  const plan: BlockPlan = { parts: own, epochs, rate: blockRate, seed, norms: before?.norms };
  const job = quantizer.block(plan);
  report(0);
  const timer = onProgress ? setInterval(() => report(job.progress()), 200) : undefined;
  const block = await settle(job, signal, () => false).finally(() => clearInterval(timer));
  if (before) return { ...before, earlier: true };
  const made = block.parts as QuantizedMatrix[];
  const { errorBefore, errorAfter, norms } = block;
  const trained = errorBefore !== undefined && errorAfter !== undefined;
  const losses = parts.map((part, i) => [part, { loss: made[i].loss, rounded: made[i].rounded }]);
  const finished: Finished = {
    matrices: made.map(({ codes, scale, zero }, i) => ({ ...shapes[i], codes, scale, zero })),
    norms,
    report: {
      parts: Object.fromEntries(losses),
      ...(trained ? { error: { before: errorBefore, after: errorAfter } } : {}),
    },
  };
  await run.writeBlock(blockName(layer), finished);
  return { ...finished, earlier: false };
}

/** Reports of all blocks, if nothing is left to do: then nothing has to be computed to go on behind them. */
async function finishedBlocks(
  run: Run,
  plan: readonly (readonly MatrixShape[])[],
  signal: AbortSignal | undefined,
): Promise<BlockReport[] | undefined> {
  for (const name of ["tables", ...plan.map((_, layer) => blockName(layer))])
    if (!(await run.has(name))) return undefined;
  const reports: BlockReport[] = [];
  for (const [layer, shapes] of plan.entries()) {
    signal?.throwIfAborted();
    const block = await run.block<BlockReport>(blockName(layer), shapes);
    if (!block) return undefined;
    reports.push(block.report);
  }
  return reports;
}

async function quantizeBlocks(
  source: Source,
  run: Run,
  plan: readonly (readonly MatrixShape[])[],
  tokens: CalibrationTokens,
  options: ResolvedQuantize,
): Promise<BlockReport[]> {
  const { threads, method, blockEpochs, signal } = options;
  const finished = await finishedBlocks(run, plan, signal);
  if (finished) return finished;
  const { spec } = source.config;
  const { weights, files } = source.weights;
  const beside = method === "decoupleq" || blockEpochs > 0;
  const quantizer = await settle(
    native.quantizer({ spec, weights, files, ...tokens, threads, beside }),
    signal,
    () => false,
  );
  try {
    if (!(await run.has("tables"))) await writeTables(quantizer, source, run, options);
    return await eachBlock(quantizer, run, plan, options);
  } finally {
    quantizer.dispose();
  }
}

async function eachBlock(
  quantizer: NativeQuantizer,
  run: Run,
  plan: readonly (readonly MatrixShape[])[],
  options: ResolvedQuantize,
): Promise<BlockReport[]> {
  const { onProgress } = options;
  const total = plan.length * parts.length;
  const blocks: BlockReport[] = [];
  let [solved, seconds] = [0, 0];
  for (const [layer, shapes] of plan.entries()) {
    const start = performance.now();
    const tick = (matricesDone: number) => {
      const secondsLeft = solved > 0 ? (seconds / solved) * (plan.length - layer) : undefined;
      onProgress?.({ phase: "blocks", done: layer * parts.length + matricesDone, total, secondsLeft });
    };
    const { earlier, report } = await quantizeBlock(quantizer, run, layer, shapes, options, tick);
    blocks.push(report);
    if (earlier) continue;
    solved += 1;
    seconds += (performance.now() - start) / 1e3;
  }
  return blocks;
}

/**
 * Quantises a model block by block and writes it as a Hugging Face folder that {@link load} opens. Blocks that are finished survive
 * whatever ends the process; `resume` goes on behind them.
 *
 * @param source as for {@link load}
 * @throws {OutriderError} OUTRIDER_ARGUMENT for options and for an `out` that is in use; OUTRIDER_IO; what {@link load} throws.
 * @example await quantizeModel("models/SmolLM2.gguf", { out: "models/small", bits: 2, calibration: ["text.txt", "self"] });
 */
export async function quantizeModel(
  source: string | undefined,
  options: QuantizeModelOptions,
): Promise<QuantizedModel> {
  const checked = checkQuantize(options);
  const watched = watch<QuantizeProgress>(checked);
  const onProgress = checked.onProgress && watched.report;
  try {
    return await quantize(source, { ...checked, signal: watched.signal, onProgress });
  } finally {
    watched.end();
  }
}

async function quantize(source: string | undefined, checked: CheckedQuantize): Promise<QuantizedModel> {
  const started = performance.now();
  const { out, signal, onProgress } = checked;
  const run = new Run(out);
  await run.check(checked.resume);
  const model = await openModel(source, signal);
  const resolved = sizeQuantize(checked, model.config.spec);
  const tables = tableModules(model).length * tableBytes(model, resolved.embeddings);
  if (resolved.budget !== undefined) checkBudget(model, resolved.budget - tables);
  const { spec } = model.config;
  const text = await readTokenizer(model.files, spec.vocab);
  await run.begin(await settingsOf(model, resolved), resolved.resume);
  const all = await textOf(source, text, run, resolved);
  // Never more than what is there for training: what is behind it is held out.
  const some = (tokens: number) => someOf(all, Math.min(tokens, resolved.distillTokens), resolved.window);

  const plan =
    resolved.budget === undefined
      ? uniformPlan(spec, resolved.bits, resolved.group)
      : await budgetPlan(model, run, resolved.budget - tables, some(surveyTokens), resolved);
  const described = describePlan(plan, tables);
  resolved.onPlan?.(described);
  const blocks = await quantizeBlocks(model, run, plan, some(resolved.tokens), resolved);
  const block = async (layer: number) => (await run.block<BlockReport>(blockName(layer), plan[layer])) as Finished;
  const distilled =
    resolved.distillSteps > 0 ? await distil(model, resolved, run, some(resolved.distillTokens), block) : undefined;

  const pieces = [run.piece("tables"), run.piece("final")];
  onProgress?.({ phase: "files", done: 0, total: 1 });
  await writeFinalNorm(model, run, distilled?.finalNorm);
  for (const layer of plan.keys()) {
    signal?.throwIfAborted();
    const { matrices, norms } = await block(layer);
    const trained = distilled?.blocks[layer];
    const final = matrices.map((matrix, i) => ({ ...matrix, ...trained?.parts[i] }));
    const tensors = await blockTensors(model, layer, final, trained?.norms ?? norms);
    const name = `${blockName(layer)}.tensors`;
    await writeSafetensors(run.piece(name), tensors);
    pieces.push(run.piece(name));
  }
  const bytes = await joinSafetensors(path.join(out, "model.safetensors"), pieces);
  const { bits, group, budget, method, rounds, blockEpochs, distillSteps, distillTokens } = resolved;
  const { embeddings, tokens, calibration, seed } = resolved;
  await writeFolder(model.files, out, quantizationConfig(model, resolved, plan));
  onProgress?.({ phase: "files", done: 1, total: 1 });
  const measured = await measureLoss(source, heldOut(all, resolved), resolved);
  const result: QuantizedModel = {
    folder: out,
    bytes,
    bitsPerWeight: described.bitsPerWeight,
    plan: described,
    seconds: (performance.now() - started) / 1e3,
    blocks,
    ...(distilled ? { divergence: distilled.divergence } : {}),
    ...(measured ? { measured } : {}),
    settings: {
      ...{ bits, group, budget, method, rounds, blockEpochs, distillSteps, distillTokens },
      ...{ embeddings, calibration, tokens, seed },
    },
  };
  await writeCard(model.files, out, result);
  await run.end();
  return result;
}
