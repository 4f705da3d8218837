// Options of generation: their meaning, defaults and checks. The sampler pipeline is documented in native/ops/sample/sample.h.

import type { Drafter } from "../draft/drafter.ts";
import { badArgument } from "../errors.ts";
import type { NativeAccept } from "../native.ts";
import { type Approximation, approximationOf } from "./approximation.ts";
import { checkOptions, checkSignal } from "./arguments.ts";

/** How tokens are drawn. Stages run in the order of the members. */
export interface SamplingOptions {
  /** Divides the logits of tokens already seen (multiplies negative ones). 1: off. @default 1 */
  repetitionPenalty?: number;
  /** Subtracted from a token's logit for each time it was seen. @default 0 */
  frequencyPenalty?: number;
  /** Subtracted once from the logit of a token that was seen. @default 0 */
  presencePenalty?: number;
  /** How many of the last tokens the penalties look at; 0: all, prompt included. @default 0 */
  penaltyWindow?: number;
  /** Added to logits by token id; -Infinity forbids a token. */
  logitBias?: Record<number, number> | ReadonlyMap<number, number>;
  /** 0: always the likeliest token. @default 0, or what generation_config.json says */
  temperature?: number;
  /** Keep the k likeliest tokens; 0: off. @default 0 */
  topK?: number;
  /** Keep the smallest set closest to the entropy with this mass; 1: off. @default 1 */
  typicalP?: number;
  /** Keep the smallest set of likeliest tokens with this mass; 1: off. @default 1 */
  topP?: number;
  /** Keep tokens at least this fraction as likely as the likeliest; 0: off. @default 0 */
  minP?: number;
  /**
   * Makes the text a function of prompt and options. An integer, modulo 2^64: a number, a bigint, or its decimal digits in a string.
   * @default random
   */
  seed?: number | bigint | string;
}

/** Options of {@link Model.generate} and {@link Model.stream}. */
export interface GenerateOptions extends SamplingOptions {
  /** @default as many as fit the context */
  maxTokens?: number;
  /** End tokens are not drawn before this many tokens. @default 0 */
  minTokens?: number;
  /** Texts that end the output; they are not part of it. */
  stop?: string | readonly string[];
  /** Token ids that end the output, besides the model's own end tokens. */
  stopTokens?: readonly number[];
  /** Never draw the model's end tokens. @default false */
  ignoreEos?: boolean;
  /** Log-probabilities of drawn tokens under the raw logits, with this many alternatives (0 to 64). @default none */
  logprobs?: number;
  /**
   * Speculative decoding: drafters propose tokens, and those that the model would have drawn are taken several at a time. The text is the same
   * with any drafters and without, unless `approximate` says otherwise. `"auto"`: drafters without a model, as far as they pay. @default "auto"
   */
  draft?: false | "auto" | Drafter | readonly Drafter[];
  /**
   * Lets the text take drafted tokens that are likely enough though they were not drawn: faster, and **not exact**. Where the drawn token was not drafted, the
   * likeliest drafted one that the rule accepts takes its place, with its own log-probability. Forbidden tokens are never taken, and an end token
   * that was drawn is. What is said then depends on what was drafted, which depends on what pays on the machine: a seed does not reproduce it. Without
   * drafts nothing changes. `true`: typical acceptance with the paper's numbers. @default false
   */
  approximate?: boolean | Approximation;
  /**
   * Streams alone: pieces come at an even pace where drafts bring several tokens at once; up to 64 are computed ahead of the reader.
   * @default false
   */
  smooth?: boolean;
  /** Ends the call; it rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** What a model brings along for calls that do not say themselves. */
export type Defaults = SamplingOptions & Pick<GenerateOptions, "draft">;

/** Options with every default filled in. */
export type ResolvedOptions = Required<
  Omit<
    GenerateOptions,
    "signal" | "logprobs" | "maxTokens" | "stop" | "logitBias" | "seed" | "draft" | "approximate" | "smooth"
  >
> & {
  seed: bigint;
  stop: readonly string[];
  logitBias: ReadonlyMap<number, number>;
  maxTokens: number;
  logprobs: number | undefined;
  draft: "auto" | readonly Drafter[];
  approximate: NativeAccept | undefined;
  smooth: boolean;
  signal: AbortSignal | undefined;
};

const known = [
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "penaltyWindow",
  "logitBias",
  "temperature",
  "topK",
  "typicalP",
  "topP",
  "minP",
  "seed",
  "maxTokens",
  "minTokens",
  "stop",
  "stopTokens",
  "ignoreEos",
  "logprobs",
  "draft",
  "approximate",
  "smooth",
  "signal",
];

/** Defaults a model brings along, from generation_config.json. */
export function defaultsFromConfig(config: Record<string, unknown> = {}): SamplingOptions {
  const number = (key: string) =>
    typeof config[key] === "number" && Number.isFinite(config[key]) ? (config[key] as number) : undefined;
  const defaults: SamplingOptions = { repetitionPenalty: number("repetition_penalty") };
  if (config.do_sample !== true) return defaults; // greedy, as the config's own library has it
  return {
    ...defaults,
    temperature: number("temperature") ?? 1,
    topK: number("top_k"),
    topP: number("top_p"),
    minP: number("min_p"),
    typicalP: number("typical_p"),
  };
}

function number(
  options: Record<string, unknown>,
  name: string,
  fallback: number,
  ok: (value: number) => boolean,
  what: string,
): number {
  const value = options[name] ?? fallback;
  if (typeof value !== "number" || !ok(value)) throw badArgument(name, what, value);
  return value;
}

function integer(
  options: Record<string, unknown>,
  name: string,
  fallback: number,
  max = Number.MAX_SAFE_INTEGER,
): number {
  return number(
    options,
    name,
    fallback,
    (value) => Number.isSafeInteger(value) && value >= 0 && value <= max,
    max === Number.MAX_SAFE_INTEGER ? "a non-negative integer" : `an integer from 0 to ${max}`,
  );
}

function biasMap(value: unknown, vocab: number): ReadonlyMap<number, number> {
  if (value === undefined) return new Map();
  if (typeof value !== "object" || value === null) throw badArgument("logitBias", "token ids with numbers", value);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const map = new Map<number, number>();
  for (const [key, bias] of entries) {
    const id = Number(key);
    if (!Number.isInteger(id) || id < 0 || id >= vocab) throw badArgument("logitBias", `token ids below ${vocab}`, key);
    if (typeof bias !== "number" || Number.isNaN(bias) || bias === Number.POSITIVE_INFINITY)
      throw badArgument(`logitBias[${id}]`, "a number", bias);
    map.set(id, bias);
  }
  return map;
}

function stopList(value: unknown): readonly string[] {
  const list = value === undefined ? [] : typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) || !list.every((stop) => typeof stop === "string" && stop.length > 0)) {
    throw badArgument("stop", "one or more non-empty strings", value);
  }
  return list;
}

function stopIds(value: unknown, vocab: number): readonly number[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw badArgument("stopTokens", "an array of token ids", value);
  const wrong = value.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocab);
  if (wrong >= 0) throw badArgument(`stopTokens[${wrong}]`, `a token id below ${vocab}`, value[wrong]);
  return value;
}

/** What `value` drafts with. @throws {OutriderError} OUTRIDER_ARGUMENT */
export function draftersOf(value: unknown): "auto" | readonly Drafter[] {
  if (value === false) return [];
  if (value === undefined || value === "auto") return "auto";
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const names = new Set<string>();
  for (const [i, drafter] of list.entries()) {
    const { name, start, prepare, best = 0 } = (drafter ?? {}) as Partial<Drafter>;
    const complete = typeof name === "string" && typeof start === "function" && Number.isInteger(best);
    if (!complete || best < 0 || best > 64 || (prepare !== undefined && typeof prepare !== "function"))
      throw badArgument(
        `draft[${i}]`,
        'false, "auto" or drafters: a name, a start function, best from 0 to 64',
        drafter,
      );
    if (names.has(name)) throw badArgument(`draft[${i}]`, "drafters of different names", name);
    names.add(name);
  }
  if (list.length > 32) throw badArgument("draft", "at most 32 drafters", list.length);
  return list as Drafter[];
}

function seedOf(value: unknown): bigint {
  // 53 bits: what is drawn here comes back as a number in the result.
  if (value === undefined) return crypto.getRandomValues(new BigUint64Array(1))[0] >> 11n;
  const whole =
    typeof value === "bigint" ||
    (typeof value === "number" && Number.isSafeInteger(value)) ||
    (typeof value === "string" && /^-?\d{1,20}$/.test(value));
  if (!whole) throw badArgument("seed", "an integer, as a number, bigint or decimal string", value);
  return BigInt.asUintN(64, BigInt(value as string | number | bigint));
}

/** A seed in a form that JSON can hold and {@link SamplingOptions.seed} takes: a number, or a string where a number would round. */
export function plainSeed(seed: bigint): number | string {
  return seed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seed) : seed.toString();
}

/**
 * Checks options and fills in defaults.
 * @param vocab vocabulary size, for token ids
 * @throws {OutriderError} OUTRIDER_ARGUMENT naming the option, unknown ones included.
 */
export function resolveOptions(options: GenerateOptions, defaults: Defaults, vocab: number): ResolvedOptions {
  checkOptions(options, known);
  const all: Record<string, unknown> = { ...defaults };
  for (const [key, value] of Object.entries(options)) if (value !== undefined) all[key] = value;
  const finite = Number.isFinite;
  const fraction = (value: number) => value >= 0 && value <= 1;
  const mass = (value: number) => value > 0 && value <= 1;
  const { signal } = options;
  checkSignal(signal);
  for (const name of ["ignoreEos", "smooth"])
    if (all[name] !== undefined && typeof all[name] !== "boolean") throw badArgument(name, "true or false", all[name]);
  return {
    repetitionPenalty: number(all, "repetitionPenalty", 1, (v) => v > 0 && finite(v), "a positive number"),
    frequencyPenalty: number(all, "frequencyPenalty", 0, finite, "a finite number"),
    presencePenalty: number(all, "presencePenalty", 0, finite, "a finite number"),
    penaltyWindow: integer(all, "penaltyWindow", 0),
    logitBias: biasMap(all.logitBias, vocab),
    temperature: number(all, "temperature", 0, (v) => v >= 0 && finite(v), "a number from 0 on"),
    topK: integer(all, "topK", 0, 2 ** 31 - 1),
    typicalP: number(all, "typicalP", 1, mass, "a number above 0 and up to 1"),
    topP: number(all, "topP", 1, mass, "a number above 0 and up to 1"),
    minP: number(all, "minP", 0, fraction, "a number from 0 to 1"),
    seed: seedOf(all.seed),
    maxTokens:
      all.maxTokens === undefined || all.maxTokens === Infinity
        ? Number.MAX_SAFE_INTEGER
        : integer(all, "maxTokens", 0),
    minTokens: integer(all, "minTokens", 0),
    stop: stopList(all.stop),
    stopTokens: stopIds(all.stopTokens, vocab),
    ignoreEos: all.ignoreEos === true,
    logprobs: all.logprobs === undefined ? undefined : integer(all, "logprobs", 0, 64),
    draft: draftersOf(all.draft),
    approximate: approximationOf(all.approximate),
    smooth: all.smooth === true,
    signal,
  };
}
