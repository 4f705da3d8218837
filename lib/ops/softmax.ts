import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { asFloat32, type FloatType, finiteOr, nativeOps, type OpOptions, opInput, outputFor } from "./native-ops.ts";

/** Inputs of {@link softmax}. Dims: K columns. */
export interface SoftmaxInput<R extends number> extends OpOptions {
  /** `[..., K]`. */
  x: Tensor<FloatType, R>;
  /** Multiplies x. @default 1 */
  scale?: number;
  /** Replaces a score s by `softCap * tanh(s / softCap)`; 0: off. @default 0 */
  softCap?: number;
  /** Receives the result; may be `x` itself. @default a new tensor */
  out?: Tensor<"f32", R>;
}

/**
 * Softmax over rows, `exp(s - max) / sum(exp(s - max))` with `s = cap(scale * x)`.
 * Without a soft cap -Infinity gives exactly 0, and a row with NaN, with Infinity or without a finite entry gives NaN.
 *
 * @returns f32 of the shape of `x`.
 * @throws {OutriderError} OUTRIDER_SHAPE for a tensor that does not match its documented type or shape.
 * @example const p = softmax({ x: logits, softCap: 30 });
 */
export function softmax<R extends number>(input: SoftmaxInput<R>): Tensor<"f32", R> {
  const { x, scale, softCap, out, level } = opInput(input, "x");
  const { K } = bindDims<"K">({ x: [x, "f32|f16|bf16[..., K]"] });
  const multiplier = finiteOr(scale, 1, "scale");
  const cap = finiteOr(softCap, 0, "softCap", (value) => value >= 0, "a number from 0 on");
  const y = outputFor(out, x);
  nativeOps.softmax(asFloat32(x), y.data, K && x.size / K, K, multiplier, cap, level);
  return y;
}
