// quantizeModel(): any model that outrider runs, as a folder of few bits.

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import { badArgument, OutriderError } from "../errors.ts";
import { readTokenizer } from "../generate/open.ts";
import { readSafetensors } from "../load/safetensors.ts";
import { type ModelFiles, openSource } from "../load/source.ts";
import { type ModelConfig, specFromConfig } from "../model/config.ts";
import { specFromGguf } from "../model/gguf-config.ts";
import { settle } from "../model/runtime.ts";
import { folderNames, mapWeights, type WeightMap } from "../model/weights.ts";
import { type BlockPlan, type MatrixPlan, type NativeQuantizer, native, type QuantizedMatrix } from "../native.ts";
import { type CalibrationTokens, calibrationTokens } from "./calibration.ts";
import { sourceConfig, writeFolder } from "./folder.ts";
import { type QuantizeModelOptions, type ResolvedQuantize, resolveQuantize } from "./options.ts";
import { joinSafetensors, type StoredTensor, writeSafetensors, writeText } from "./safetensors-writer.ts";
import { blockTensors, matrixTensors, type Part, parts, vectorTensor } from "./tensors.ts";

/** What {@link quantizeModel} made. */
export interface QuantizedModel {
  folder: string;
  /** Bytes of model.safetensors. */
  bytes: number;
  /** Of the matrices of the blocks, scales and zeros counted. */
  bitsPerWeight: number;
  /** Seconds of this call. */
  seconds: number;
  /**
   * The parts of each block: `loss` is the part of the layer's output energy that is lost on the calibration tokens, `rounded` the same
   * after rounding to nearest alone. Blocks that were minimised have the relative error of their output before and after.
   */
  blocks: {
    parts: Record<Part, { loss: number; rounded: number }>;
    error?: { before: number; after: number };
  }[];
  settings: Pick<
    ResolvedQuantize,
    "bits" | "group" | "method" | "rounds" | "blockEpochs" | "embeddings" | "calibration" | "tokens" | "seed"
  >;
}

type Losses = QuantizedModel["blocks"][number];

const embeddingGroup = 32;
const blockRate = 0.005;
const workFolder = ".quantize";

/** The source with everything that quantising it needs. */
interface Source {
  files: ModelFiles;
  config: ModelConfig;
  weights: WeightMap;
}

async function openModel(source: string | undefined, signal: AbortSignal | undefined): Promise<Source> {
  const files = await openSource(source, { signal });
  const config =
    files.kind === "folder"
      ? specFromConfig(files.config ?? {})
      : await specFromGguf(files.metadata ?? new Map(), files.tensors);
  sourceConfig(files); // refuses what no config.json can say before hours of work
  return { files, config, weights: mapWeights(config, files.tensors, files.kind, files.config) };
}

const runText = (key: string) => `${JSON.stringify({ key })}\n`;

/** A run in `out`, finished block by block. */
class Run {
  readonly work: string;
  readonly #options: ResolvedQuantize;

  constructor(options: ResolvedQuantize) {
    this.#options = options;
    this.work = path.join(options.out, workFolder);
  }

  part(name: string): string {
    return path.join(this.work, `${name}.safetensors`);
  }

  /** Makes the folder, or finds the unfinished run with the same settings in it. */
  async begin(key: string): Promise<void> {
    const { out, resume } = this.#options;
    const found = await readdir(out).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw badArgument("out", "a folder", out);
    });
    const file = path.join(this.work, "run.json");
    if (found.length > 0) {
      const before = await readFile(file, "utf8").catch(() => undefined);
      if (before === undefined) throw badArgument("out", "a folder that is empty or holds an unfinished run", out);
      if (!resume) throw badArgument("resume", "true for a folder with an unfinished run", resume);
      if (before !== runText(key))
        throw badArgument("resume", "the model, options and calibration tokens of the unfinished run", out);
      // What a killed run was writing.
      for (const name of found) if (name.endsWith(".tmp")) await rm(path.join(out, name), { force: true });
      return;
    }
    try {
      await mkdir(this.work, { recursive: true });
    } catch (error) {
      throw new OutriderError("OUTRIDER_IO", `Cannot make ${this.work}: ${(error as Error).message}`, { cause: error });
    }
    await writeText(file, runText(key));
  }

  /** The matrices of a finished block and what they lost; undefined for one that is not. */
  async finished(name: string, plan: BlockPlan): Promise<{ plan: BlockPlan; losses: Losses } | undefined> {
    const file = this.part(name);
    if (!(await stat(file).catch(() => undefined))) return undefined;
    const { tensors, metadata } = await readSafetensors(file);
    const content = await readFile(file);
    const bytes = (tensor: string) => {
      const entry = tensors.get(tensor);
      if (!entry) throw new OutriderError("OUTRIDER_FORMAT", `Expected ${tensor} in ${file}`);
      return Uint8Array.from(content.subarray(entry.offset, entry.offset + entry.byteLength));
    };
    const earlier = plan.parts.map((part, i) => ({
      ...part,
      codes: bytes(`${parts[i]}.codes`),
      scale: new Uint16Array(bytes(`${parts[i]}.scale`).buffer),
      zero: new Uint16Array(bytes(`${parts[i]}.zero`).buffer),
    }));
    const norm = (i: number) => (tensors.has(`norm.${i}`) ? new Float32Array(bytes(`norm.${i}`).buffer) : undefined);
    const norms = tensors.has("norm.0") ? [0, 1, 2, 3].map((i) => norm(i) ?? new Float32Array()) : undefined;
    return { plan: { ...plan, parts: earlier, norms }, losses: JSON.parse(metadata.losses) };
  }
}

/** What a resumed run must agree with: the source's files, the options that change the result, the tokens. */
async function runKey(source: Source, options: ResolvedQuantize, calibration: CalibrationTokens): Promise<string> {
  const { bits, group, method, rounds, blockEpochs, embeddings, seed } = options;
  const hash = createHash("sha256");
  hash.update(JSON.stringify({ bits, group, method, rounds, blockEpochs, embeddings, seed, spec: source.config.spec }));
  for (const file of source.weights.files) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${file} ${size} ${mtimeMs}`);
  }
  hash.update(calibration.tokens).update(calibration.lengths);
  return hash.digest("hex");
}

async function tables(
  quantizer: NativeQuantizer,
  { config, weights, files }: Source,
  run: Run,
  options: ResolvedQuantize,
): Promise<void> {
  const { embeddings, signal } = options;
  const names = folderNames(config.family.norms, "model.");
  const normAdd = files.kind === "gguf" ? -config.family.normOffset : 0;
  const tensors: StoredTensor[] = [];
  const add = async (which: "embedding" | "head", module: string) => {
    const matrix = await settle(quantizer.table(which, embeddings, embeddingGroup), signal, () => false);
    const shape = [config.spec.vocab, config.spec.hidden];
    if (matrix instanceof Uint16Array) tensors.push({ name: `${module}.weight`, dtype: "F16", shape, data: matrix });
    else tensors.push(...matrixTensors(module, [matrix]));
  };
  await add("embedding", names.embedding);
  if (weights.weights.head) await add("head", names.head);
  tensors.push(await vectorTensor(`${names.finalNorm}.weight`, weights.weights.finalNorm, weights.files, normAdd));
  await writeSafetensors(run.part("tables"), tensors);
}

/** quantization_config: bits and group of the blocks, and of the tables that differ. */
function quantizationConfig(source: Source, options: ResolvedQuantize): Record<string, unknown> {
  const { bits, group, method, embeddings } = options;
  const names = folderNames(source.config.family.norms, "model.");
  const tableShape = { bits: embeddings, group_size: embeddingGroup };
  const heads = source.weights.weights.head ? [names.head] : [];
  const modules = [names.embedding, ...heads].map((module) => [module, tableShape]);
  return {
    quant_method: "decoupleq",
    bits: bits === 3 ? 4 : bits,
    group_size: group,
    ...(bits === 3 ? { code_bits: 3 } : {}),
    solver: method,
    ...(embeddings === 16 ? {} : { modules: Object.fromEntries(modules) }),
  };
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
  const started = performance.now();
  const resolved = resolveQuantize(options);
  const { out, bits, group, method, rounds, blockEpochs, seed, threads, signal, onProgress } = resolved;
  const model = await openModel(source, signal);
  const { spec, family } = model.config;
  const text = await readTokenizer(model.files, spec.vocab);
  const calibration = await calibrationTokens(source, text, spec.contextLength, resolved);
  const run = new Run(resolved);
  await run.begin(await runKey(model, resolved, calibration));

  const { weights, files } = model.weights;
  const quantizer = await settle(
    native.quantizer({ spec, weights, files, ...calibration, threads }),
    signal,
    () => false,
  );
  if (!(await stat(run.part("tables")).catch(() => undefined))) await tables(quantizer, model, run, resolved);

  const names = folderNames(family.norms, "model.");
  const normAdd = model.files.kind === "gguf" ? -family.normOffset : 0;
  const plan: BlockPlan = {
    parts: parts.map((): MatrixPlan => ({ bits, group, method, rounds })),
    ...{ epochs: blockEpochs, rate: blockRate, seed },
  };
  const total = spec.layers.length * parts.length;
  const blocks: QuantizedModel["blocks"] = [];
  let solved = 0;
  let seconds = 0;
  let codeBits = 0;
  let count = 0;
  for (let l = 0; l < spec.layers.length; l++) {
    const name = `block-${String(l).padStart(4, "0")}`;
    const before = await run.finished(`${name}.parts`, plan);
    const start = performance.now();
    const job = quantizer.block(before?.plan ?? plan);
    const tick = () => {
      const done = l * parts.length + job.progress();
      const secondsLeft = solved > 0 ? (seconds / solved) * (spec.layers.length - l) : undefined;
      onProgress?.({ phase: "blocks", done, total, secondsLeft });
    };
    tick();
    const timer = onProgress ? setInterval(tick, 200) : undefined;
    const block = await settle(job, signal, () => false).finally(() => clearInterval(timer));
    const matrices = block.parts as QuantizedMatrix[];
    const report = parts.map((part, i) => [part, { loss: matrices[i].loss, rounded: matrices[i].rounded }]);
    const { errorBefore, errorAfter, norms } = block;
    const error =
      errorBefore === undefined || errorAfter === undefined
        ? {}
        : { error: { before: errorBefore, after: errorAfter } };
    const losses: Losses = before?.losses ?? { parts: Object.fromEntries(report), ...error };
    blocks.push(losses);
    if (!before) {
      solved += 1;
      seconds += (performance.now() - start) / 1e3;
      const layer = weights.layers[l];
      const tensors = await blockTensors(names.layer(l), layer, files, matrices, family.fused, normAdd, norms);
      await writeSafetensors(run.part(name), tensors);
      await writeSafetensors(
        run.part(`${name}.parts`),
        [
          ...parts.flatMap((part, i) => matrixTensors(part, [matrices[i]])),
          ...(norms ?? []).flatMap((data, i): StoredTensor[] =>
            data.length > 0 ? [{ name: `norm.${i}`, dtype: "F32", shape: [data.length], data }] : [],
          ),
        ],
        { losses: JSON.stringify(losses) },
      );
    }
    for (const matrix of matrices) {
      codeBits += 8 * (matrix.codes.byteLength + matrix.scale.byteLength + matrix.zero.byteLength);
      count += matrix.rows * matrix.cols;
    }
  }
  onProgress?.({ phase: "files", done: 0, total: 1 });
  const pieces = spec.layers.map((_, l) => run.part(`block-${String(l).padStart(4, "0")}`));
  const bytes = await joinSafetensors(path.join(out, "model.safetensors"), [run.part("tables"), ...pieces]);
  const { embeddings, tokens, calibration: from } = resolved;
  const result: QuantizedModel = {
    folder: out,
    bytes,
    bitsPerWeight: codeBits / count,
    seconds: (performance.now() - started) / 1e3,
    blocks,
    settings: { bits, group, method, rounds, blockEpochs, embeddings, calibration: from, tokens, seed },
  };
  await writeFolder(model.files, out, quantizationConfig(model, resolved), result);
  await rm(run.work, { recursive: true, force: true });
  onProgress?.({ phase: "files", done: 1, total: 1 });
  return result;
}
