// The addon's op entry points, and what every op does before it calls one.

import { badArgument, expected } from "../errors.ts";
import { type DecoderSpec, type GgufBlockFormat, type Level, type NativeAddon, native } from "../native.ts";
import { Tensor } from "../tensor/tensor.ts";

type Bits = Uint16Array;
type Optional<T> = T | undefined;

/** Op entry points of the addon. Arrays are row-major; a trailing level names the CPU level to run. */
export interface NativeOps {
  opLevels(op: string): Level[];
  widen(bits: Bits, type: "f16" | "bf16"): Float32Array;
  rmsnorm(
    x: Float32Array,
    weight: Optional<Float32Array>,
    out: Float32Array,
    N: number,
    K: number,
    xStride: number,
    eps: number,
    level?: Level,
  ): void;
  layernorm(
    x: Float32Array,
    weight: Optional<Float32Array>,
    bias: Optional<Float32Array>,
    out: Float32Array,
    N: number,
    K: number,
    eps: number,
    level?: Level,
  ): void;
  rope(
    x: Float32Array,
    positions: Int32Array,
    invFreq: Float32Array,
    T: number,
    H: number,
    D: number,
    half: number,
    magnitude: number,
    interleaved: boolean,
    level?: Level,
  ): void;
  activation(kind: string, gate: Float32Array, up: Float32Array, out: Float32Array, n: number, level?: Level): void;
  softmax(
    x: Float32Array,
    out: Float32Array,
    N: number,
    K: number,
    scale: number,
    softCap: number,
    level?: Level,
  ): void;
  topk(
    x: Float32Array,
    ids: Int32Array,
    values: Float32Array,
    logsumexp: Optional<Float32Array>,
    N: number,
    V: number,
    xStride: number,
    k: number,
    level?: Level,
  ): void;
  packWeights(
    format: string,
    rows: number,
    cols: number,
    data: Float32Array | Bits | Uint8Array,
    group: number,
    scaleFormat: string,
    scale?: Float32Array | Bits,
    zero?: Float32Array | Bits,
  ): PackedHandle;
  gemm(
    weights: PackedHandle,
    x: Float32Array | Bits,
    xType: FloatType,
    N: number,
    bias: Optional<Float32Array>,
    out: Float32Array,
    activation: "float" | "int8" | "bf16",
    level?: Level,
    threads?: number,
  ): void;
  embedding(
    weights: PackedHandle,
    tokens: Int32Array,
    N: number,
    scale: number,
    out: Float32Array,
    level?: Level,
    mixWeights?: Float32Array,
    J?: number,
  ): void;
  kvWrite(
    pages: Float32Array | Bits,
    type: FloatType,
    G: number,
    D: number,
    token: number,
    key: Float32Array,
    value: Float32Array,
    level?: Level,
  ): void;
  attention(args: NativeAttention, level?: Level): void;
  sample(logits: Float32Array, options: NativeSampleOptions, level?: Level): number;
  sampleDraws(logits: Float32Array, options: NativeSampleOptions, count: number, level?: Level): SampleDraws;
  sampleUniform(seed: bigint, position: number, token: number): number;
  /** Gradients of the loss of one decoder block in native/quantize/block_gradient.h, for tests; `spec` has one layer. */
  blockGradients(
    options: {
      spec: DecoderSpec;
      parts: Float32Array[];
      biases?: Float32Array[];
      norms: Float32Array[];
      T: number;
      x: Float32Array;
      target: Float32Array;
      /** Factors of products in bf16, on levels that multiply them. */
      bf16?: boolean;
    },
    level?: Level,
  ): { loss: number; parts: Float32Array[]; norms: Float32Array[]; x: Float32Array };
  compensated(
    weights: Float32Array,
    hessian: Float32Array,
    cross: Float32Array,
    M: number,
    d: number,
    level?: Level,
  ): Float32Array;
  headGradients(
    options: {
      T: number;
      hidden: number;
      vocab: number;
      eps: number;
      logitScale: number;
      x: Float32Array;
      teacher: Float32Array;
      norm: Float32Array;
      head: Float32Array;
      teacherHead: Float32Array;
      bf16?: boolean;
    },
    level?: Level,
  ): { loss: number; x: Float32Array; norm: Float32Array };
  quantizeLayer(
    weights: Float32Array,
    hessian: Float32Array,
    M: number,
    d: number,
    options: {
      bits: number;
      group: number;
      symmetric: boolean;
      method: string;
      rounds: number;
      projected: boolean;
      damping: number;
      f16Grid: boolean;
      threads: number;
    },
    level?: Level,
  ): {
    codes: Uint8Array;
    scale: Float32Array;
    zero: Float32Array;
    loss: Float64Array;
    steps: { name: "round" | "integer" | "shrink" | "float" | "f16"; loss: number }[];
  };
  decodeGguf(
    type: GgufBlockFormat,
    bytes: Uint8Array,
    cols: number,
  ): {
    rows: number;
    bits: 2 | 4 | 8;
    group: number;
    values: Float32Array;
    codes: Uint8Array;
    scale: Float32Array;
    zero: Float32Array;
  };
}

/** Weights packed for the kernels; see {@link NativeOps.packWeights}. */
export type PackedHandle = object;

/** Arguments of {@link NativeOps.attention}; native/ops/attention/attention.h documents them. */
export interface NativeAttention {
  q: Float32Array;
  out: Float32Array;
  N: number;
  H: number;
  G: number;
  D: number;
  pages: Float32Array | Bits;
  scratch?: Float32Array | Bits;
  kvType: FloatType;
  positions: Int32Array;
  prefix: number;
  parents?: Int32Array;
  window: number;
  scale: number;
  softCap: number;
  threads: number;
}

/** Options of {@link NativeOps.sample}; native/ops/sample/sample.h documents them. */
export interface NativeSampleOptions {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  seed: bigint;
  position: number;
  history: Int32Array;
  biasIds: Int32Array;
  bias: Float32Array;
  suppressed: Int32Array;
}

/** The first tokens of the order in which a sampler would draw them without replacement. */
export interface SampleDraws {
  /** The first is what the sampler draws; -1 where fewer tokens can be drawn. */
  tokens: Int32Array;
  /** Log-probabilities under the law that is drawn from; -Infinity where there is no token. */
  logq: Float64Array;
  /** Log-probabilities with the noise of each token added, falling; without noise if the sampler is greedy. */
  values: Float64Array;
}

/** The addon, seen as the ops see it. */
export const nativeOps = native as NativeAddon & NativeOps;

/** Element types that every op takes as activations; f16 and bf16 are widened to f32 first. */
export type FloatType = "f32" | "f16" | "bf16";

/** What every op takes beside its tensors. */
export interface OpOptions {
  /** CPU level to run, for tests and comparisons. @default the level of the process, see OUTRIDER_ISA */
  level?: Level;
}

/** CPU levels of this machine that have an implementation of their own of `op`. */
export function opLevels(op: string): Level[] {
  return nativeOps.opLevels(op);
}

/**
 * What an op was called with.
 * @param tensors members that may not be left out
 * @throws {OutriderError} OUTRIDER_ARGUMENT unless it is an object of named arguments with a CPU level of this machine, if any;
 *   OUTRIDER_SHAPE for a missing tensor.
 */
export function opInput<T extends object>(input: T, ...tensors: (keyof T & string)[]): T {
  if (typeof input !== "object" || input === null) throw badArgument("input", "an object of named arguments", input);
  for (const name of tensors)
    if (input[name] === undefined) throw expected("OUTRIDER_SHAPE", name, "a tensor", undefined);
  const { level } = input as OpOptions;
  if (level !== undefined) {
    const { levels } = native.cpu();
    if (!levels.includes(level)) throw badArgument("level", levels.join(", "), level);
  }
  return input;
}

/** Elements as f32 in row-major order: the tensor's own memory where it is that already, a widened copy otherwise. */
export function asFloat32<R extends number>(tensor: Tensor<FloatType, R>): Float32Array {
  const { dtype, data } = tensor;
  if (!tensor.isContiguous) return tensor.toFloat32();
  if (dtype === "f32") return data as Float32Array;
  return nativeOps.widen(new Uint16Array(data.buffer, data.byteOffset, tensor.size), dtype as "f16" | "bf16");
}

/** Exactly the elements of a contiguous i32 tensor: the memory of a row goes on with the rows behind it. */
export function asInt32(tensor: Tensor<"i32", 1> | Tensor<"i32", 2>): Int32Array {
  return tensor.data.subarray(0, tensor.size);
}

/** Elements of a matrix as f32, with the distance between rows: views with gaps between rows are read in place. */
export function asFloat32Rows<R extends number>(tensor: Tensor<FloatType, R>): { data: Float32Array; stride: number } {
  const { dtype, rank } = tensor;
  const [rowStride, step] = tensor.strides as readonly number[];
  const [, cols] = tensor.shape as readonly number[];
  if (dtype === "f32" && rank === 2 && (step === 1 || cols <= 1) && rowStride >= cols) {
    return { data: tensor.data as Float32Array, stride: rowStride };
  }
  return { data: asFloat32(tensor), stride: (tensor.shape as readonly number[])[rank - 1] };
}

/**
 * The tensor an op writes to: the caller's, or a new one.
 * @throws {OutriderError} OUTRIDER_SHAPE unless `out` is a contiguous tensor of that type and shape.
 */
export function outputFor<R extends number>(
  out: Tensor<"f32", R> | undefined,
  like: Tensor<FloatType, R>,
): Tensor<"f32", R> {
  const shape = like.shape as readonly number[];
  if (out === undefined) return Tensor.zeros("f32", shape) as unknown as Tensor<"f32", R>;
  const same =
    out instanceof Tensor &&
    out.dtype === "f32" &&
    out.isContiguous &&
    out.rank === shape.length &&
    shape.every((size, i) => (out.shape as readonly number[])[i] === size);
  if (!same) throw expected("OUTRIDER_SHAPE", "out", `a contiguous f32[${shape.join(", ")}]`, out);
  return out;
}

/** A finite number, or the default where it is undefined. */
export function finiteOr(
  value: number | undefined,
  fallback: number,
  name: string,
  ok: (value: number) => boolean = () => true,
  what = "a finite number",
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || !ok(value)) throw badArgument(name, what, value);
  return value;
}
