import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { asFloat32, type FloatType, finiteOr, nativeOps, type OpOptions, opInput, outputFor } from "./native-ops.ts";

/** Inputs of {@link layernorm}. Dims: K channels. */
export interface LayernormInput<R extends number> extends OpOptions {
  /** `[..., K]`. */
  x: Tensor<FloatType, R>;
  /** Multiplier per channel, `[K]`. @default ones */
  weight?: Tensor<FloatType, 1>;
  /** Added per channel, `[K]`. @default zeros */
  bias?: Tensor<FloatType, 1>;
  /** Added to the variance. @default 1e-5 */
  eps?: number;
  /** Receives the result; may be `x` itself. @default a new tensor */
  out?: Tensor<"f32", R>;
}

/**
 * Layer normalisation of rows: `(x - mean) / sqrt(variance + eps) * weight + bias`, the variance divided by K.
 *
 * @returns f32 of the shape of `x`.
 * @throws {OutriderError} OUTRIDER_SHAPE for a tensor that does not match its documented type or shape.
 * @example const y = layernorm({ x: f32([1, 3], [1, 2]) });
 */
export function layernorm<R extends number>(input: LayernormInput<R>): Tensor<"f32", R> {
  const { x, weight, bias, eps, out, level } = opInput(input, "x");
  const vector = "f32|f16|bf16[K]";
  const { K } = bindDims<"K">({ x: [x, "f32|f16|bf16[..., K]"], weight: [weight, vector], bias: [bias, vector] });
  const epsilon = finiteOr(eps, 1e-5, "eps", (value) => value >= 0, "a number from 0 on");
  const y = outputFor(out, x);
  const scale = weight && asFloat32(weight);
  nativeOps.layernorm(asFloat32(x), scale, bias && asFloat32(bias), y.data, K && x.size / K, K, epsilon, level);
  return y;
}
