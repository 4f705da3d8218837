import { checkThreads, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { Tensor } from "../tensor/tensor.ts";
import { asFloat32, type FloatType, nativeOps, type OpOptions, opInput } from "./native-ops.ts";
import { type PackedWeights, packWeights, type WeightTensor } from "./packed-weights.ts";

/** Inputs of {@link gemm}. Dims: N rows, M outputs, K inputs. */
export interface GemmInput extends OpOptions {
  /** Activations, `[N, K]`. */
  x: Tensor<FloatType, 2>;
  /** Weights, `[M, K]`, as a tensor or packed by {@link packWeights}. */
  w: WeightTensor | PackedWeights;
  /** Added to every row, `[M]`. @default none */
  bias?: Tensor<FloatType, 1>;
  /**
   * "int8" rounds activations per group, for affine weights; "bf16" rounds them to bf16, for bf16 weights (exact if x is bf16);
   * "float" does not round. @default "float"
   */
  activation?: "float" | "int8" | "bf16";
  /** Threads, 1 to 256; the result has the same bits. Waits for its turn while a model uses them. @default 1 */
  threads?: number;
}

/**
 * Activations times weights: `out[n,m] = sum_k x[n,k] w[m,k] + bias[m]`. A row's bits do not depend on the other rows.
 *
 * @returns f32 `[N, M]`.
 * @throws {OutriderError} OUTRIDER_SHAPE for tensors that do not fit together; OUTRIDER_UNSUPPORTED for an activation the weights do not have.
 * @example const y = gemm({ x: f32([1, 2], [1, 2]), w: f32([3, 4, 5, 6], [2, 2]) });
 */
export function gemm(input: GemmInput): Tensor<"f32", 2> {
  const { x, w, bias, activation = "float", threads = 1, level } = opInput(input, "x", "w");
  const packed = packWeights(w);
  const { N, K, M } = bindDims<"N" | "K" | "M">({ x: [x, "f32|f16|bf16[N, K]"], bias: [bias, "f32|f16|bf16[M]"] });
  if (K !== packed.cols) throw expected("OUTRIDER_SHAPE", "x", `${packed.cols} columns, as the weights have`, K);
  if (M !== undefined && M !== packed.rows)
    throw expected("OUTRIDER_SHAPE", "bias", `${packed.rows} values, one per output`, M);
  if (activation !== "float" && activation !== "int8" && activation !== "bf16")
    throw expected("OUTRIDER_ARGUMENT", "activation", '"float", "int8" or "bf16"', activation);
  if (activation !== "float" && activation !== packed.rounding) {
    const needed = activation === "int8" ? "affine" : "bf16";
    throw expected("OUTRIDER_UNSUPPORTED", "w", `${needed} weights for activation "${activation}"`, packed.dtype);
  }
  checkThreads(threads);
  const out = Tensor.zeros("f32", [N, packed.rows] as const);
  const direct = x.isContiguous && x.dtype !== "f32";
  const data = direct ? new Uint16Array(x.data.buffer, x.data.byteOffset, x.size) : asFloat32(x);
  nativeOps.gemm(
    packed.handle,
    data,
    direct ? x.dtype : "f32",
    N,
    bias && asFloat32(bias),
    out.data,
    activation,
    level,
    threads,
  );
  return out;
}
