import { badArgument, checkThreads, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { toF16 } from "../tensor/dtype.ts";
import { Tensor } from "../tensor/tensor.ts";
import { asFloat32, type FloatType, finiteOr, nativeOps, type OpOptions, opInput } from "./native-ops.ts";
import type { WeightTensor } from "./packed-weights.ts";

/** Inputs of {@link quantize}. Dims: M outputs, d inputs. */
export interface QuantizeInput extends OpOptions {
  /** The matrix, `[M, d]`. */
  weights: Tensor<FloatType, 2>;
  /**
   * Second moments of the layer's inputs, `X^T X / n`, `[d, d]`, symmetric: what an error of the weights costs.
   * @default the identity: all inputs alike and independent
   */
  hessian?: Tensor<"f32", 2>;
  /** Bits of a code. */
  bits: 2 | 3 | 4 | 8;
  /** Inputs that share a scale and a zero; `d` or more: one group a row. @default 64 */
  group?: number;
  /**
   * "rtn" rounds to the nearest level; "gptq" adds one pass that makes good in later columns what earlier ones lost; "decoupleq" takes
   * turns with solving for scales and zeros.
   * @default "decoupleq"
   */
  method?: "rtn" | "gptq" | "decoupleq";
  /** Zero of signed codes is 0: `w = scale * q`, levels -2^(bits-1) to 2^(bits-1) - 1. @default false */
  symmetric?: boolean;
  /** Most turns of decoupleQ, the first being GPTQ's pass. @default 4 */
  rounds?: number;
  /**
   * How later columns make good what rounding one lost: "recursion" in closed form, "projected" by Adam within the range of their levels,
   * which costs d^3 a row and is for at most 512 inputs.
   * @default "recursion"
   */
  integers?: "recursion" | "projected";
  /** Part of the mean diagonal of `hessian` that is added to its diagonal. @default 0.01 */
  damping?: number;
  /** Format of scales and zeros; codes are fitted to what f16 can hold. @default "f16" */
  scales?: "f16" | "f32";
  /** Threads, 1 to 256; the result has the same bits. @default 1 */
  threads?: number;
}

/** What {@link quantize} found. */
export interface QuantizeOutput {
  /** `[M, d]`: what {@link gemm} takes and files hold. */
  weights: WeightTensor;
  /** `(w - w0)^T H (w - w0)` of each row, H damped. `[M]` */
  loss: Float64Array;
  /** Summed loss after each half step. */
  steps: { name: "round" | "integer" | "shrink" | "float" | "f16"; loss: number }[];
}

const methods = ["rtn", "gptq", "decoupleq"];

/**
 * Quantises a matrix to affine codes, `w = scale * code + zero` per group of inputs, such that its products with typical inputs change
 * least. Source: decoupleQ (arXiv:2404.12759); GPTQ (arXiv:2210.17323).
 *
 * @throws {OutriderError} OUTRIDER_SHAPE for tensors that do not fit together; OUTRIDER_ARGUMENT for NaN or infinity, or a hessian of
 *   zeros; OUTRIDER_UNSUPPORTED for scales beyond f16.
 * @example const { weights } = quantize({ weights: f32([1, 2, 3, 4], [1, 4]), bits: 2, group: 4 });
 */
export function quantize(input: QuantizeInput): QuantizeOutput {
  const { weights, hessian, bits, group = 64, method = "decoupleq", level } = opInput(input, "weights");
  const { symmetric = false, rounds = 4, integers = "recursion", scales = "f16", threads = 1 } = input;
  const { M, d } = bindDims<"M" | "d">({ weights: [weights, "f32|f16|bf16[M, d]"], hessian: [hessian, "f32[d, d]"] });
  if (M < 1 || d < 1) throw expected("OUTRIDER_SHAPE", "weights", "at least one row and column", `[${M}, ${d}]`);
  if (![2, 3, 4, 8].includes(bits)) throw badArgument("bits", "2, 3, 4 or 8", bits);
  if (!Number.isSafeInteger(group) || group < 1) throw badArgument("group", "a positive integer", group);
  if (!methods.includes(method)) throw badArgument("method", methods.join(", "), method);
  if (typeof symmetric !== "boolean") throw badArgument("symmetric", "a boolean", symmetric);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) throw badArgument("rounds", "1 to 1000", rounds);
  if (integers !== "recursion" && integers !== "projected")
    throw badArgument("integers", '"recursion" or "projected"', integers);
  const projected = integers === "projected";
  if (projected && d > 512)
    throw expected("OUTRIDER_UNSUPPORTED", "weights", 'at most 512 inputs for integers "projected"', d);
  if (scales !== "f16" && scales !== "f32") throw badArgument("scales", '"f16" or "f32"', scales);
  checkThreads(threads);
  const damping = finiteOr(input.damping, 0.01, "damping", (value) => value >= 0, "a number from 0 on");
  const native = nativeOps.quantizeLayer(
    asFloat32(weights),
    hessian ? asFloat32(hessian) : identity(d),
    M,
    d,
    {
      bits,
      group,
      symmetric,
      method,
      rounds,
      projected,
      damping: hessian ? damping : 0,
      f16Grid: scales === "f16",
      threads,
    },
    level,
  );
  const half = (values: Float32Array) => (scales === "f16" ? Uint16Array.from(values, toF16) : values);
  return {
    weights: Tensor.affine({
      bits,
      group: Math.min(group, d),
      codes: native.codes,
      scale: half(native.scale),
      zero: half(native.zero),
      shape: [M, d],
    }),
    loss: native.loss,
    steps: native.steps,
  };
}

function identity(d: number): Float32Array {
  const values = new Float32Array(d * d);
  for (let i = 0; i < d; i++) values[i * d + i] = 1;
  return values;
}
