import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  asFloat32,
  asFloat32Rows,
  type FloatType,
  finiteOr,
  nativeOps,
  type OpOptions,
  opInput,
  outputFor,
} from "./native-ops.ts";

/** Inputs of {@link rmsnorm}. Dims: K channels. */
export interface RmsnormInput<R extends number> extends OpOptions {
  /** `[..., K]`; rows of a matrix view may have gaps between them. */
  x: Tensor<FloatType, R>;
  /** Multiplier per channel, `[K]`. @default ones */
  weight?: Tensor<FloatType, 1>;
  /** Added to the mean square. @default 1e-6 */
  eps?: number;
  /** Receives the result; may be `x` itself. @default a new tensor */
  out?: Tensor<"f32", R>;
}

/**
 * Root-mean-square normalisation of rows: `x / sqrt(mean(x^2) + eps) * weight`.
 *
 * @returns f32 of the shape of `x`.
 * @throws {OutriderError} OUTRIDER_SHAPE for a tensor that does not match its documented type or shape.
 * @example const y = rmsnorm({ x: f32([3, 4], [1, 2]), weight: f32([1, 1], [2]) });
 */
export function rmsnorm<R extends number>(input: RmsnormInput<R>): Tensor<"f32", R> {
  const { x, weight, eps, out, level } = opInput(input, "x");
  const { K } = bindDims<"K">({ x: [x, "f32|f16|bf16[..., K]"], weight: [weight, "f32|f16|bf16[K]"] });
  const epsilon = finiteOr(eps, 1e-6, "eps", (value) => value >= 0, "a number from 0 on");
  const y = outputFor(out, x);
  const { data, stride } = asFloat32Rows(x);
  nativeOps.rmsnorm(data, weight && asFloat32(weight), y.data, K && x.size / K, K, stride, epsilon, level);
  return y;
}
