// Options of quantizeModel(): their meaning, defaults and checks.

import { availableParallelism } from "node:os";
import { badArgument, checkThreads } from "../errors.ts";
import { checkCallback, checkOptions, checkSignal } from "../generate/arguments.ts";
import type { Part } from "./tensors.ts";

/** How far {@link quantizeModel} is. */
export interface QuantizeProgress {
  phase: "calibration" | "plan" | "blocks" | "distillation" | "files";
  done: number;
  total: number;
  /** Expected seconds to the end of the phase, once there is something to go by. */
  secondsLeft?: number;
}

/** How the matrices of a model will be stored. */
export interface QuantizePlan {
  /** q, k, v, o, gate, up, down of each block. */
  blocks: Record<Part, { rows: number; cols: number; bits: number; group: number; bytes: number }>[];
  /** Of the matrices of the blocks, scales and zeros counted. */
  bitsPerWeight: number;
  /** Bytes of these matrices, and of embedding and output head. */
  bytes: { blocks: number; tables: number };
}

/** Options of {@link quantizeModel}. */
export interface QuantizeModelOptions {
  /** Folder to write; it must not exist, be empty, or hold an unfinished run to resume. */
  out: string;
  /** Bits of the matrices of the blocks; 3 take the room of 4 in memory. @default 2 */
  bits?: 2 | 3 | 4 | 8;
  /** Inputs that share a scale and a zero. @default 64 */
  group?: number;
  /**
   * Bytes of all matrices, embeddings included: instead of `bits` and `group` for all, each matrix gets what the model's answers gain most
   * from, by a survey of what each costs at each number of bits.
   */
  budget?: number;
  /** Called once with how every matrix will be stored, before the work starts. */
  onPlan?: (plan: QuantizePlan) => void;
  /**
   * "rtn" rounds to nearest, "gptq" makes good what earlier columns lost, "decoupleq" takes turns with solving for scales and zeros.
   * @default "decoupleq"
   */
  method?: "rtn" | "gptq" | "decoupleq";
  /** Most turns of decoupleq. @default 8 */
  rounds?: number;
  /**
   * Passes over the calibration tokens that train scales, zeros and norms of each block on the error of its output, for families of the
   * llama kind (llama, mistral, qwen2, qwen3); others go without. 0: none. @default 2
   */
  blockEpochs?: number;
  /**
   * Steps of end-to-end distillation, for the same families: each trains scales, zeros and norms of all blocks on one calibration
   * sequence, so that the model says what the original says. 0: none. @default 200
   */
  distillSteps?: number;
  /** Calibration tokens for distillation, of which `tokens` are a part. @default one sequence for each step, at most 65536 */
  distillTokens?: number;
  /** Bits of the embedding and of an output head of its own, rounded to nearest in groups of 32; 16: f16. @default 8 */
  embeddings?: 4 | 8 | 16;
  /**
   * Where calibration tokens come from, in equal parts: text files, .jsonl files of `{"messages": [...]}` or `{"text": ...}`, or "self",
   * text that the model makes up.
   * @default ["self"]
   */
  calibration?: readonly string[];
  /** Calibration tokens for statistics and block-wise training. @default 16384 */
  tokens?: number;
  /** Tokens of a calibration sequence. @default 1024, or the context length if smaller */
  window?: number;
  /** Of the text that the model makes up. @default 0 */
  seed?: number;
  /** @default what the machine offers this process */
  threads?: number;
  /** Go on with an unfinished run in `out`, which must have had the same options. @default false */
  resume?: boolean;
  /** Ends the call; finished blocks stay in `out` for `resume`. */
  signal?: AbortSignal;
  onProgress?: (progress: QuantizeProgress) => void;
}

/** Options with every default filled in. */
export type ResolvedQuantize = Required<
  Omit<QuantizeModelOptions, "signal" | "onProgress" | "onPlan" | "window" | "budget">
> & {
  window: number | undefined;
  budget: number | undefined;
  onPlan: ((plan: QuantizePlan) => void) | undefined;
  signal: AbortSignal | undefined;
  onProgress: ((progress: QuantizeProgress) => void) | undefined;
};

const known = [
  ...[
    "out",
    "bits",
    "group",
    "budget",
    "method",
    "rounds",
    "blockEpochs",
    "distillSteps",
    "distillTokens",
    "embeddings",
    "calibration",
    "tokens",
    "window",
    "seed",
    "threads",
  ],
  ...["resume", "signal", "onProgress", "onPlan"],
];

function integer(name: string, value: unknown, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most)
    throw badArgument(name, `an integer from ${least} to ${most}`, value);
}

function oneOf(name: string, value: unknown, choices: readonly unknown[]): void {
  if (!choices.includes(value)) throw badArgument(name, choices.join(", "), value);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT naming the option. */
export function resolveQuantize(options: QuantizeModelOptions): ResolvedQuantize {
  checkOptions(options, known);
  const resolved = {
    bits: 2,
    group: 64,
    budget: undefined,
    method: "decoupleq",
    rounds: 8,
    blockEpochs: 2,
    distillSteps: 200,
    distillTokens: 0,
    embeddings: 8,
    calibration: ["self"],
    tokens: 16384,
    window: undefined,
    seed: 0,
    threads: Math.min(256, availableParallelism()),
    resume: false,
    signal: undefined,
    onProgress: undefined,
    onPlan: undefined,
    ...options,
  } satisfies ResolvedQuantize as ResolvedQuantize;
  if (typeof resolved.out !== "string" || resolved.out === "") throw badArgument("out", "a folder", resolved.out);
  oneOf("bits", resolved.bits, [2, 3, 4, 8]);
  integer("group", resolved.group, 1, 2 ** 22);
  if (resolved.budget !== undefined) {
    integer("budget", resolved.budget, 1, Number.MAX_SAFE_INTEGER);
    for (const name of ["bits", "group"] as const)
      if (options[name] !== undefined) throw badArgument(name, "no value beside a budget", options[name]);
  }
  oneOf("method", resolved.method, ["rtn", "gptq", "decoupleq"]);
  integer("rounds", resolved.rounds, 1, 1000);
  integer("blockEpochs", resolved.blockEpochs, 0, 1000);
  integer("distillSteps", resolved.distillSteps, 0, 1_000_000);
  oneOf("embeddings", resolved.embeddings, [4, 8, 16]);
  integer("tokens", resolved.tokens, 16, 2 ** 24);
  if (resolved.window !== undefined) integer("window", resolved.window, 8, 2 ** 20);
  if (options.distillTokens === undefined)
    resolved.distillTokens = Math.max(
      resolved.tokens,
      Math.min(65536, resolved.distillSteps * (resolved.window ?? 1024)),
    );
  integer("distillTokens", resolved.distillTokens, 16, 2 ** 26);
  if (resolved.distillSteps === 0) resolved.distillTokens = resolved.tokens;
  integer("seed", resolved.seed, 0, 2 ** 31);
  checkThreads(resolved.threads);
  if (typeof resolved.resume !== "boolean") throw badArgument("resume", "a boolean", resolved.resume);
  const { calibration } = resolved;
  if (!Array.isArray(calibration) || calibration.length === 0 || !calibration.every((x) => typeof x === "string" && x))
    throw badArgument("calibration", 'a list of files or "self"', calibration);
  checkSignal(resolved.signal);
  checkCallback("onProgress", resolved.onProgress);
  checkCallback("onPlan", resolved.onPlan);
  return resolved;
}
