// Inverse frequencies of rotary position embeddings: default, linear, llama3 and yarn.
// Rounded to f32 where the training code rounds, because position * frequency magnifies the last bit.

import { badArgument, OutriderError } from "../errors.ts";

/** How a model spaces its rotary frequencies. */
export interface RopeParameters {
  type: "default" | "linear" | "llama3" | "yarn";
  /** Base of the geometric series. */
  theta: number;
  /** Rotary channels of a head: even, at most the head size. */
  dim: number;
  /** Context extension factor of linear, llama3 and yarn. */
  factor?: number;
  /** Context length before extension (llama3, yarn). */
  originalContext?: number;
  /** llama3. */
  lowFrequencyFactor?: number;
  highFrequencyFactor?: number;
  /** yarn. @default 32, 1, true */
  betaFast?: number;
  betaSlow?: number;
  truncate?: boolean;
  /** yarn: multiplier of cos and sin. @default 0.1 ln(factor) + 1, or from the two mscales */
  attentionFactor?: number;
  mscale?: number;
  mscaleAllDim?: number;
}

/** Inverse frequencies, `dim / 2` of them, and the multiplier of cos and sin. */
export interface RopeFrequencies {
  invFreq: Float32Array;
  magnitude: number;
}

const f = Math.fround;

const numbers = [
  "theta",
  "dim",
  "factor",
  "originalContext",
  "lowFrequencyFactor",
  "highFrequencyFactor",
  "betaFast",
  "betaSlow",
  "attentionFactor",
  "mscale",
  "mscaleAllDim",
] as const;

/** theta^(2 i / dim), in f32. */
function powers({ theta, dim }: RopeParameters): Float32Array {
  return Float32Array.from({ length: dim / 2 }, (_, i) => f(theta ** f((2 * i) / dim)));
}

// arXiv:2407.21783 (Llama 3.1): long wavelengths are stretched, short ones kept, those between interpolated.
function llama3(p: RopeParameters, base: Float32Array): Float32Array {
  const { factor = 1, originalContext: context = 0, lowFrequencyFactor: low = 1, highFrequencyFactor: high = 4 } = p;
  if (!(context > 0)) throw badArgument("originalContext", "a positive number", p.originalContext);
  if (!(low > 0)) throw badArgument("lowFrequencyFactor", "a positive number", low);
  if (!(high > low)) throw badArgument("highFrequencyFactor", `a number above lowFrequencyFactor, ${low},`, high);
  return base.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength > context / low) return frequency / factor;
    if (wavelength < context / high) return frequency;
    const smooth = (context / wavelength - low) / (high - low);
    return f(f((1 - smooth) * f(frequency / factor)) + f(smooth * frequency));
  });
}

// arXiv:2309.00071, section 3.2 ("NTK-by-parts") and 3.4 (temperature).
function yarn(p: RopeParameters): RopeFrequencies {
  const { factor = 1, originalContext: context = 0, betaFast = 32, betaSlow = 1, truncate = true, theta, dim } = p;
  if (!(context > 0)) throw badArgument("originalContext", "a positive number", p.originalContext);
  if (!(betaFast > 0 && betaSlow > 0))
    throw badArgument(betaFast > 0 ? "betaSlow" : "betaFast", "a positive number", betaFast > 0 ? betaSlow : betaFast);
  const correction = (rotations: number) =>
    (dim * Math.log(context / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = correction(betaFast);
  let high = correction(betaSlow);
  if (truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, dim - 1);
  if (low === high) high += 0.001;
  const invFreq = powers(p).map((power, i) => {
    const ramp = f(Math.min(Math.max((i - low) / (high - low), 0), 1));
    const keep = f(1 - ramp);
    return f(f(f(1 / f(factor * power)) * f(1 - keep)) + f(f(1 / power) * keep));
  });
  const scaleOf = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const magnitude =
    p.attentionFactor ?? (p.mscale && p.mscaleAllDim ? scaleOf(p.mscale) / scaleOf(p.mscaleAllDim) : scaleOf(1));
  return { invFreq, magnitude };
}

/**
 * Inverse frequencies of a rotary embedding.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for impossible numbers, OUTRIDER_UNSUPPORTED for other types.
 */
export function ropeFrequencies(p: RopeParameters): RopeFrequencies {
  if (typeof p !== "object" || p === null) throw badArgument("parameters", "an object of rope parameters", p);
  for (const name of numbers) {
    const value = p[name];
    if (value !== undefined && (typeof value !== "number" || !Number.isFinite(value)))
      throw badArgument(name, "a finite number", value);
  }
  if (!Number.isInteger(p.dim) || p.dim < 2 || p.dim % 2 !== 0)
    throw badArgument("dim", "a positive even number", p.dim);
  if (!(p.theta > 1) || !Number.isFinite(p.theta)) throw badArgument("theta", "a number above 1", p.theta);
  const factor = p.factor ?? 1;
  if (!(factor > 0) || !Number.isFinite(factor)) throw badArgument("factor", "a positive number", p.factor);
  const base = powers(p).map((power) => 1 / power);
  switch (p.type) {
    case "default":
      return { invFreq: base, magnitude: 1 };
    case "linear":
      return { invFreq: base.map((frequency) => frequency / factor), magnitude: 1 };
    case "llama3":
      return { invFreq: llama3(p, base), magnitude: 1 };
    case "yarn":
      return yarn(p);
    default:
      throw new OutriderError(
        "OUTRIDER_UNSUPPORTED",
        `Expected RoPE type default, linear, llama3 or yarn, received ${String(p.type)}`,
      );
  }
}
