// Options of quantizeModel(): their meaning, defaults and checks.

import { availableParallelism } from "node:os";
import { badArgument, checkThreads } from "../errors.ts";
import { checkCallback, checkOptions, checkSignal } from "../generate/arguments.ts";
import type { DecoderSpec } from "../native.ts";
import type { Part } from "./tensors.ts";

/** How far {@link quantizeModel} is. */
export interface QuantizeProgress {
  phase: "calibration" | "plan" | "blocks" | "distillation" | "files" | "measurement";
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
  /** Bits of the matrices of the blocks. @default 2 */
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
   * sequence, so that the model says what the original says. 0: none. @default 400
   */
  distillSteps?: number;
  /** Calibration tokens for distillation, of which `tokens` are a part. @default one sequence for each step, at most 262144 */
  distillTokens?: number;
  /** Bits of the embedding and of an output head of its own, rounded to nearest in groups of 32; 16: f16. @default 8 */
  embeddings?: 4 | 8 | 16;
  /**
   * Where calibration tokens come from, in equal parts: text files, .jsonl files of `{"messages": [...]}`, `{"text": ...}` or
   * `{"tokens": [...]}`, "self", text that the model makes up, or "chat", conversations that it makes up in its template.
   * @default ["self"]
   */
  calibration?: readonly string[];
  /**
   * Calibration tokens for statistics and block-wise training. @default 65536, or fewer for wide models, so that their hidden states
   * take at most 3 GiB; 4096 if nothing learns from them
   */
  tokens?: number;
  /** Tokens of a calibration sequence. @default 512, or the context length if smaller */
  window?: number;
  /** Of the text that the model makes up. @default 0 */
  seed?: number;
  /** @default what the machine offers this process */
  threads?: number;
  /**
   * Measure at the end, on calibration text that was held out, what the model has lost; the model card tells. Files too short to leave
   * anything over go without. @default true
   */
  measure?: boolean;
  /** Go on with an unfinished run in `out`, which must have had the same options. @default false */
  resume?: boolean;
  /** Ends the call; finished blocks stay in `out` for `resume`. */
  signal?: AbortSignal;
  onProgress?: (progress: QuantizeProgress) => void;
}

/** Options whose defaults depend on the model. */
type Sized = "tokens" | "distillTokens" | "window";

/** Options with every default filled in. */
export type ResolvedQuantize = Required<Omit<QuantizeModelOptions, "signal" | "onProgress" | "onPlan" | "budget">> & {
  budget: number | undefined;
  onPlan: ((plan: QuantizePlan) => void) | undefined;
  signal: AbortSignal | undefined;
  onProgress: ((progress: QuantizeProgress) => void) | undefined;
};

/** Options whose values are checked, with the defaults that do not depend on the model. */
export type CheckedQuantize = Omit<ResolvedQuantize, Sized> & Pick<QuantizeModelOptions, Sized>;

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
    "measure",
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
export function checkQuantize(options: QuantizeModelOptions): CheckedQuantize {
  checkOptions(options, known);
  const checked = {
    bits: 2,
    group: 64,
    budget: undefined,
    method: "decoupleq",
    rounds: 8,
    blockEpochs: 2,
    distillSteps: 400,
    embeddings: 8,
    calibration: ["self"],
    seed: 0,
    threads: Math.min(256, availableParallelism()),
    measure: true,
    resume: false,
    signal: undefined,
    onProgress: undefined,
    onPlan: undefined,
    ...options,
  } satisfies CheckedQuantize as CheckedQuantize;
  if (typeof checked.out !== "string" || checked.out === "") throw badArgument("out", "a folder", checked.out);
  oneOf("bits", checked.bits, [2, 3, 4, 8]);
  integer("group", checked.group, 1, 2 ** 22);
  if (checked.budget !== undefined) {
    integer("budget", checked.budget, 1, Number.MAX_SAFE_INTEGER);
    for (const name of ["bits", "group"] as const)
      if (options[name] !== undefined) throw badArgument(name, "no value beside a budget", options[name]);
  }
  oneOf("method", checked.method, ["rtn", "gptq", "decoupleq"]);
  integer("rounds", checked.rounds, 1, 1000);
  integer("blockEpochs", checked.blockEpochs, 0, 1000);
  integer("distillSteps", checked.distillSteps, 0, 1_000_000);
  oneOf("embeddings", checked.embeddings, [4, 8, 16]);
  if (checked.tokens !== undefined) integer("tokens", checked.tokens, 16, 2 ** 24);
  if (checked.window !== undefined) integer("window", checked.window, 8, 2 ** 20);
  if (checked.distillTokens !== undefined) integer("distillTokens", checked.distillTokens, 16, 2 ** 26);
  integer("seed", checked.seed, 0, 2 ** 31);
  checkThreads(checked.threads);
  for (const name of ["measure", "resume"] as const)
    if (typeof checked[name] !== "boolean") throw badArgument(name, "a boolean", checked[name]);
  const { calibration } = checked;
  if (!Array.isArray(calibration) || calibration.length === 0 || !calibration.every((x) => typeof x === "string" && x))
    throw badArgument("calibration", 'a list of files, "self" or "chat"', calibration);
  checkSignal(checked.signal);
  checkCallback("onProgress", checked.onProgress);
  checkCallback("onPlan", checked.onPlan);
  return checked;
}

/** Bytes that the hidden states of calibration tokens may take. */
const stateBytes = 3 * 2 ** 30;

/** Fills in what depends on the model's size. */
export function sizeQuantize(checked: CheckedQuantize, spec: DecoderSpec): ResolvedQuantize {
  const { method, blockEpochs, distillSteps, budget } = checked;
  const { hidden, heads, kvHeads, headDim, ffn, contextLength } = spec;
  const window = Math.min(checked.window ?? 512, contextLength);
  // native/quantize: four hidden states, a block's steps, and the original's inputs of its layers.
  const bytes =
    4 *
    (4 * hidden + (2 * hidden + (2 * heads + 2 * kvHeads) * headDim + 2 * ffn) + (2 * hidden + heads * headDim + ffn));
  const learns = method !== "rtn" || blockEpochs > 0 || budget !== undefined;
  const most = learns ? Math.min(65536, Math.floor(stateBytes / bytes)) : 4096;
  const tokens = checked.tokens ?? Math.max(16, most);
  const steps = Math.max(tokens, checked.distillTokens ?? Math.min(2 ** 18, distillSteps * window));
  return { ...checked, window, tokens, distillTokens: distillSteps > 0 ? steps : tokens };
}
