import { badArgument } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  asFloat32,
  type FloatType,
  finiteOr,
  type NativeSampleOptions,
  nativeOps,
  type OpOptions,
  opInput,
  type SampleDraws,
} from "./native-ops.ts";

/** Inputs of {@link sample}. Stages run in the order of the members. Dims: V vocabulary. */
export interface SampleInput extends OpOptions {
  /** `[V]`; left as it is. */
  logits: Tensor<FloatType, 1>;
  /** Tokens the penalties count. @default none */
  history?: Int32Array;
  /** Divides the logits of tokens in the history (multiplies negative ones). 1: off. @default 1 */
  repetitionPenalty?: number;
  /** Subtracted from a logit for each time its token is in the history. @default 0 */
  frequencyPenalty?: number;
  /** Subtracted once from the logit of a token in the history. @default 0 */
  presencePenalty?: number;
  /** Added to logits by token id; -Infinity forbids a token. @default none */
  logitBias?: ReadonlyMap<number, number>;
  /** Tokens that may not be drawn. @default none */
  suppressed?: Int32Array;
  /** 0: the token with the largest logit, the lowest id of equals. @default 0 */
  temperature?: number;
  /** Keep the k likeliest tokens; 0: off. @default 0 */
  topK?: number;
  /** Keep the smallest set closest to the entropy with this mass; 1: off. @default 1 */
  typicalP?: number;
  /** Keep the smallest set of likeliest tokens with this mass; 1: off. @default 1 */
  topP?: number;
  /** Keep tokens at least this fraction as likely as the likeliest; 0: off. @default 0 */
  minP?: number;
  /** @default 0 */
  seed?: number | bigint;
  /** Absolute position of the token drawn; with the seed and the token id it decides the noise. @default 0 */
  position?: number;
}

// A misspelt option would be a default without a word.
const known = [
  "logits",
  "history",
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "logitBias",
  "suppressed",
  "temperature",
  "topK",
  "typicalP",
  "topP",
  "minP",
  "seed",
  "position",
  "level",
];

function seedOf(seed: number | bigint): bigint {
  if (typeof seed === "bigint" || Number.isSafeInteger(seed)) return BigInt.asUintN(64, BigInt(seed));
  throw badArgument("seed", "an integer or bigint", seed);
}

function idList(ids: Int32Array, name: string, V: number): Int32Array {
  if (!(ids instanceof Int32Array)) throw badArgument(name, "an Int32Array", ids);
  const wrong = ids.find((id) => id < 0 || id >= V);
  if (wrong !== undefined) throw badArgument(name, `token ids below ${V}`, wrong);
  return ids;
}

function biasOf(logitBias: ReadonlyMap<number, number>, V: number): { biasIds: Int32Array; bias: Float32Array } {
  if (!(logitBias instanceof Map)) throw badArgument("logitBias", "a Map of token ids to numbers", logitBias);
  for (const [id, bias] of logitBias) {
    if (!Number.isInteger(id) || id < 0 || id >= V) throw badArgument("logitBias", `token ids below ${V}`, id);
    if (typeof bias !== "number" || !(bias < Number.POSITIVE_INFINITY))
      throw badArgument(`logitBias[${id}]`, "a number or -Infinity", bias);
  }
  return { biasIds: Int32Array.from(logitBias.keys()), bias: Float32Array.from(logitBias.values()) };
}

/** What the addon takes, checked. */
function checked(input: SampleInput): { logits: Float32Array; options: NativeSampleOptions } {
  opInput(input, "logits");
  for (const key of Object.keys(input)) {
    if (!known.includes(key)) throw badArgument("input", `only ${known.join(", ")}`, key);
  }
  const { logits, history = new Int32Array(0), logitBias = new Map(), suppressed = new Int32Array(0) } = input;
  const { V } = bindDims<"V">({ logits: [logits, "f32|f16|bf16[V]"] });
  const { topK = 0, seed = 0, position = 0 } = input;
  if (!Number.isInteger(topK) || topK < 0 || topK >= 2 ** 31)
    throw badArgument("topK", `an integer from 0 to ${2 ** 31 - 1}`, topK);
  if (!Number.isSafeInteger(position) || position < 0)
    throw badArgument("position", "a non-negative integer", position);
  if (!(history instanceof Int32Array)) throw badArgument("history", "an Int32Array", history);
  const positive = (value: number) => value > 0;
  const mass = (value: number) => value > 0 && value <= 1;
  const inMass = "a number above 0 and up to 1";
  const options = {
    history,
    repetitionPenalty: finiteOr(input.repetitionPenalty, 1, "repetitionPenalty", positive, "a positive number"),
    frequencyPenalty: finiteOr(input.frequencyPenalty, 0, "frequencyPenalty"),
    presencePenalty: finiteOr(input.presencePenalty, 0, "presencePenalty"),
    ...biasOf(logitBias, V),
    suppressed: idList(suppressed, "suppressed", V),
    temperature: finiteOr(input.temperature, 0, "temperature", (value) => value >= 0, "a number from 0 on"),
    topK,
    typicalP: finiteOr(input.typicalP, 1, "typicalP", mass, inMass),
    topP: finiteOr(input.topP, 1, "topP", mass, inMass),
    minP: finiteOr(input.minP, 0, "minP", (value) => value >= 0 && value <= 1, "a number from 0 to 1"),
    seed: seedOf(seed),
    position,
  };
  return { logits: asFloat32(logits).subarray(0, V), options };
}

/**
 * Draws one token from one row of logits. The draw is a pure function of the inputs: the noise of a token depends on seed,
 * position and token id alone. A NaN or -Infinity logit is never drawn. native/ops/sample/sample.h states each stage.
 *
 * @throws {OutriderError} OUTRIDER_SHAPE for logits that do not match, OUTRIDER_ARGUMENT for an option out of range and
 *   when the largest logit left is not finite.
 * @example const token = sample({ logits, temperature: 0.8, topP: 0.95, seed: 7, position: 12 });
 */
export function sample(input: SampleInput): number {
  const { logits, options } = checked(input);
  return nativeOps.sample(logits, options, input.level);
}

/** As many as the engine gives: they are kept in order while they are found. */
const mostDraws = 64;

/**
 * The first `count` tokens in the order in which {@link sample} would draw them without replacement (Gumbel-top-k, arXiv:1903.06059): the first is what it draws, the
 * second what is left of its filtered law draws with the same noise, and so on. If the sampler is greedy (temperature 0 or topK 1) the order is that of the logits
 * after penalties and bias, and the law is theirs at temperature 1.
 *
 * @param count 1 to 64, at most V
 * @returns tokens, log-probabilities and perturbed log-probabilities, `[count]` each
 * @throws {OutriderError} as {@link sample} does, and OUTRIDER_ARGUMENT for `count`
 * @example const { tokens } = sampleDraws({ logits, temperature: 0.8, seed: 7, position: 12 }, 4);
 */
export function sampleDraws(input: SampleInput, count: number): SampleDraws {
  const { logits, options } = checked(input);
  const most = Math.min(mostDraws, logits.length);
  if (!Number.isInteger(count) || count < 1 || count > most)
    throw badArgument("count", `an integer from 1 to ${most}`, count);
  return nativeOps.sampleDraws(logits, options, count, input.level);
}

/**
 * The uniform number in (0, 1) behind the draw of `token` at `position`: its noise is `-log(-log(u))`. Drafters that add the
 * same noise to their own scores propose what the sampler is likely to draw.
 */
export function sampleUniform(seed: number | bigint, position: number, token: number): number {
  if (!Number.isSafeInteger(position) || position < 0)
    throw badArgument("position", "a non-negative integer", position);
  if (!Number.isInteger(token) || token < 0 || token >= 2 ** 31) throw badArgument("token", "a token id", token);
  return nativeOps.sampleUniform(seedOf(seed), position, token);
}
