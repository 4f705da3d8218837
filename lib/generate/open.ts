// load(): files, configuration, weights and tokenizer put together.

import { availableParallelism } from "node:os";
import type { DraftContext } from "../draft/drafter.ts";
import { checkFolder } from "../draft/keep.ts";
import { badArgument, checkThreads, OutriderError } from "../errors.ts";
import { type ModelFiles, openSource } from "../load/source.ts";
import { type ModelConfig, specFromConfig } from "../model/config.ts";
import { specFromGguf } from "../model/gguf-config.ts";
import { Runtime, settle } from "../model/runtime.ts";
import { mapWeights } from "../model/weights.ts";
import { type KvFormat, type Level, native } from "../native.ts";
import { ChatTemplate } from "../text/chat-template.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { checkCallback, checkOptions, checkSignal } from "./arguments.ts";
import { keptExperience } from "./kept-experience.ts";
import { Model } from "./model.ts";
import { defaultsFromConfig, draftersOf, type GenerateOptions } from "./options.ts";
import { profileFromEnvironment } from "./profile.ts";
import { type Watched, watch } from "./watch.ts";

/** Progress of {@link load}: bytes downloaded from the hub, or bytes of weights packed. */
export interface LoadProgress {
  phase: "download" | "weights";
  loaded: number;
  total: number;
  /** The file being downloaded. */
  file?: string;
}

/** Options of {@link load}. */
export interface LoadOptions {
  /** Threads of the engine, 1 to 256. @default what the machine offers this process */
  threads?: number;
  /** Tokens a sequence may hold. @default what the model was trained for */
  contextLength?: number;
  /** Format of the KV cache. @default "f16" */
  kv?: KvFormat;
  /**
   * Arithmetic: "int8" rounds activations, per group to int8 for affine weights and to bf16 for bf16 weights; "float" does not. Weights
   * in f32 and f16 always use float.
   * @default "int8"
   */
  activation?: "float" | "int8";
  /** CPU level of this model's kernels, for tests and for bisecting a wrong result. @default OUTRIDER_ISA, or the best the machine has */
  isa?: Level;
  /** What drafts for calls that do not say themselves, as in {@link GenerateOptions.draft}. @default "auto" */
  draft?: GenerateOptions["draft"];
  /**
   * Where what drafting learns about the model on this machine is kept for the next process: what rows cost and what drafts are worth. Written soon after
   * a text and when the model is disposed of. @default nowhere
   */
  draftFolder?: string;
  /** Branch, tag or commit of a hub id. @default "main" */
  revision?: string;
  /** Ends loading; it rejects with `signal.reason`. */
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

const known = [
  "threads",
  "contextLength",
  "kv",
  "activation",
  "isa",
  "draft",
  "draftFolder",
  "revision",
  "signal",
  "onProgress",
];

function check(options: LoadOptions): Required<Pick<LoadOptions, "threads" | "kv" | "activation">> {
  checkOptions(options, known);
  const {
    threads = Math.min(256, availableParallelism()),
    kv = "f16",
    activation = "int8",
    contextLength,
    revision,
  } = options;
  checkThreads(threads);
  if (!["f16", "bf16", "f32"].includes(kv)) throw badArgument("kv", '"f16", "bf16" or "f32"', kv);
  if (activation !== "float" && activation !== "int8") throw badArgument("activation", '"float" or "int8"', activation);
  if (contextLength !== undefined && (!Number.isInteger(contextLength) || contextLength < 1))
    throw badArgument("contextLength", "a positive integer", contextLength);
  if (revision !== undefined && (typeof revision !== "string" || revision === ""))
    throw badArgument("revision", "a branch, tag or commit", revision);
  draftersOf(options.draft);
  checkFolder(options.draftFolder, "draftFolder");
  checkSignal(options.signal);
  checkCallback("onProgress", options.onProgress);
  const { levels, reason } = native.cpu();
  // The addon goes on with the best level, so that doctor() can say so; a model on another level than asked for would mislead.
  if (reason.startsWith("OUTRIDER_ISA names"))
    throw badArgument("the environment variable OUTRIDER_ISA", levels.join(", "), process.env.OUTRIDER_ISA);
  if (options.isa !== undefined && !levels.includes(options.isa))
    throw badArgument("isa", levels.join(", "), options.isa);
  return { threads, kv, activation };
}

/** Token ids that end a text: the tokenizer's, the config's and the generation config's. */
function endIds(files: ModelFiles, tokenizer: Tokenizer, vocab: number): number[] {
  const listed = [files.config?.eos_token_id, files.generationConfig?.eos_token_id].flat();
  const all = new Set<unknown>([...tokenizer.endIds, ...listed]);
  return [...all].filter((id): id is number => typeof id === "number" && Number.isInteger(id) && id >= 0 && id < vocab);
}

/** What the decoder needs to know of a model. */
export async function readConfig(files: ModelFiles): Promise<ModelConfig> {
  if (files.kind === "folder") return specFromConfig(files.config ?? {});
  return specFromGguf(files.metadata ?? new Map(), files.tensors);
}

async function loadRuntime(
  config: ModelConfig,
  weights: ReturnType<typeof mapWeights>,
  options: LoadOptions,
  { signal, report }: Watched<LoadProgress>,
): Promise<Runtime> {
  const { threads, kv, activation } = check(options);
  const { spec } = config;
  const contextLength = options.contextLength ?? spec.contextLength;
  if (contextLength > spec.contextLength)
    throw badArgument("contextLength", `at most ${spec.contextLength} (what the model was trained for)`, contextLength);
  signal.throwIfAborted();
  const total = Object.values(weights.bytesByFormat).reduce((sum, bytes) => sum + bytes, 0);
  const job = native.loadModel({
    spec,
    weights: weights.weights,
    files: weights.files,
    key: JSON.stringify([spec, weights.weights]),
    threads,
  });
  const tick = () => report({ phase: "weights", loaded: Math.min(total, job.progress()), total });
  const timer = options.onProgress ? setInterval(tick, 50) : undefined;
  const loaded = await settle(job, signal, () => false).finally(() => clearInterval(timer));
  try {
    report({ phase: "weights", loaded: total, total });
    signal.throwIfAborted();
    const rounded = activation === "int8";
    return new Runtime(loaded, spec, { threads, rounded, kv, contextLength, level: options.isa });
  } catch (error) {
    loaded.dispose();
    throw error;
  }
}

/**
 * Loads a model.
 * @param source nothing for the default model; a folder with config.json and safetensors, or with one GGUF file; a .gguf file; or a
 *   hub id.
 * @throws what `onProgress` throws; {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_FORMAT, OUTRIDER_UNSUPPORTED, OUTRIDER_ARGUMENT,
 *   OUTRIDER_NETWORK, OUTRIDER_MEMORY.
 * @example await using model = await load("models/tiny");
 */
export async function load(source?: string, options: LoadOptions = {}): Promise<Model> {
  profileFromEnvironment();
  check(options);
  if (source !== undefined && (typeof source !== "string" || source === ""))
    throw badArgument("source", "a path or hub id", source);
  const watched = watch(options);
  try {
    return await open(source, options, watched);
  } finally {
    watched.end();
  }
}

/** The tokenizer of a model and its chat template. */
export async function readTokenizer(
  files: ModelFiles,
  vocab: number,
): Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> {
  const tokenizer =
    files.kind === "folder" ? await Tokenizer.fromFolder(files.path) : Tokenizer.fromGguf(files.metadata ?? new Map());
  if (tokenizer.vocabSize > vocab) {
    throw new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected a tokenizer of at most ${vocab} tokens for ${files.path}, received ${tokenizer.vocabSize}`,
    );
  }
  return { tokenizer, template: new ChatTemplate(tokenizer.chatTemplate, tokenizer) };
}

async function open(source: string | undefined, options: LoadOptions, watched: Watched<LoadProgress>): Promise<Model> {
  const { signal, report } = watched;
  signal.throwIfAborted();
  const { activation, kv, threads } = check(options);
  const onProgress = (progress: Omit<LoadProgress, "phase">) => report({ phase: "download", ...progress });
  const files = await openSource(source, { signal, revision: options.revision, onProgress });
  const config = await readConfig(files);
  const weights = mapWeights(config, files.tensors, files.kind, files.config);
  const { spec } = config;
  // The loading thread packs weights while this one makes the tokenizer.
  const packing = loadRuntime(config, weights, options, watched);
  packing.catch(() => undefined); // it may fail before anybody waits for it
  const { tokenizer, template } = await readTokenizer(files, spec.vocab).catch(async (error) => {
    watched.stop(error);
    await packing.then(
      (runtime) => runtime.dispose(),
      () => undefined,
    );
    throw error;
  });
  const runtime = await packing;
  const draftContext: DraftContext = Object.freeze({
    vocab: spec.vocab,
    layers: spec.layers.length,
    fingerprint: runtime.fingerprint.toString(16).padStart(16, "0"),
    encode: (text: string) => tokenizer.encode(text),
    bytesOf: (id: number) => tokenizer.bytesOf(id).slice(), // theirs to write to
  });
  const experience = await keptExperience(options.draftFolder, draftContext, runtime.options).catch(async (error) => {
    await runtime.dispose();
    throw error;
  });
  return new Model({
    runtime,
    tokenizer,
    template,
    endIds: endIds(files, tokenizer, spec.vocab),
    defaults: { ...defaultsFromConfig(files.generationConfig), draft: options.draft },
    experience,
    draftContext,
    info: {
      family: spec.family,
      file: files.path,
      parameters: weights.parameters,
      layers: spec.layers.length,
      hidden: spec.hidden,
      heads: spec.heads,
      kvHeads: spec.kvHeads,
      headDim: spec.headDim,
      vocab: spec.vocab,
      contextLength: runtime.options.contextLength,
      bytesByFormat: weights.bytesByFormat,
      weightBytes: runtime.weightBytes,
      kv,
      activation,
      threads,
    },
  });
}
