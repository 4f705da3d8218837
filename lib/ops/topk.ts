import { badArgument, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { Tensor } from "../tensor/tensor.ts";
import { asFloat32Rows, type FloatType, nativeOps, type OpOptions, opInput } from "./native-ops.ts";

/** Inputs of {@link topk}. Dims: N rows, V entries. */
export interface TopkInput extends OpOptions {
  /** `[N, V]`; rows of a view may have gaps between them. */
  x: Tensor<FloatType, 2>;
  /** Entries kept per row, 1 to V. Meant to be small: the cost grows with V * k at worst. */
  k: number;
}

/** Result of {@link topk}. */
export interface TopkOutput {
  /** `[N, k]`, best first; of equal entries the lowest index comes first. */
  ids: Tensor<"i32", 2>;
  /** `[N, k]` */
  values: Tensor<"f32", 2>;
  /** `log(sum(exp(x)))` of each row, `[N]`. */
  logsumexp: Tensor<"f32", 1>;
}

/**
 * The `k` largest entries of each row, and the row's logsumexp. A NaN ranks like -Infinity and never above a number; the
 * logsumexp of a row with NaN or Infinity, or without a finite entry, is NaN.
 *
 * @throws {OutriderError} OUTRIDER_SHAPE for a tensor that does not match, OUTRIDER_ARGUMENT for k out of range.
 * @example const { ids, values, logsumexp } = topk({ x: logits, k: 5 });
 */
export function topk(input: TopkInput): TopkOutput {
  const { x, k, level } = opInput(input, "x");
  const { N, V } = bindDims<"N" | "V">({ x: [x, "f32|f16|bf16[N, V]"] });
  if (V === 0) throw expected("OUTRIDER_SHAPE", "x", "rows of one entry or more", V);
  if (!Number.isInteger(k) || k < 1 || k > V) throw badArgument("k", `an integer from 1 to ${V}`, k);
  const ids = Tensor.zeros("i32", [N, k]);
  const values = Tensor.zeros("f32", [N, k]);
  const logsumexp = Tensor.zeros("f32", [N]);
  const { data, stride } = asFloat32Rows(x);
  nativeOps.topk(data, ids.data, values.data, logsumexp.data, N, V, stride, k, level);
  return { ids, values, logsumexp };
}

/**
 * Index of the largest entry of each row, the lowest one of equals.
 * @returns `[N]`
 * @throws {OutriderError} as {@link topk}.
 * @example const next = argmax({ x: logits }).data[0];
 */
export function argmax(input: Omit<TopkInput, "k">): Tensor<"i32", 1> {
  const { ids } = topk({ ...opInput(input, "x"), k: 1 });
  return ids.reshape([ids.shape[0]]);
}

/**
 * `log(sum(exp(x)))` of each row: what turns a logit into a log-probability when subtracted.
 * @returns `[N]`
 * @throws {OutriderError} as {@link topk}.
 * @example const logprob = logits.data[token] - logsumexp({ x: logits }).data[0];
 */
export function logsumexp(input: Omit<TopkInput, "k">): Tensor<"f32", 1> {
  return topk({ ...opInput(input, "x"), k: 1 }).logsumexp;
}
