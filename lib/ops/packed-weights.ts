// Weights in the form the kernels read: 16 outputs in lanes, inputs in order (native/formats/packed.h).

import { expected } from "../errors.ts";
import type { AffineType } from "../tensor/dtype.ts";
import { Tensor } from "../tensor/tensor.ts";
import { type FloatType, nativeOps, type PackedHandle } from "./native-ops.ts";

/** A weight matrix `[M, K]`: outputs by inputs. */
export type WeightTensor = Tensor<FloatType | AffineType, 2>;

/** A packed copy of a weight matrix; the tensor it was made from is no longer needed. */
export class PackedWeights {
  readonly handle: PackedHandle;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  readonly dtype: FloatType | AffineType;
  /** What activations may be rounded to. */
  readonly rounding: "int8" | "bf16" | undefined;

  constructor(tensor: WeightTensor) {
    const [rows, cols] = tensor.shape;
    if (rows < 1 || cols < 1)
      throw expected("OUTRIDER_SHAPE", "weights", "at least one row and column", `[${rows}, ${cols}]`);
    const parts = tensor.affineParts;
    const data = tensor.data;
    this.rows = rows;
    this.cols = cols;
    this.dtype = tensor.dtype;
    this.rounding = parts ? "int8" : tensor.dtype === "bf16" ? "bf16" : undefined;
    if (parts) {
      const scaleFormat = parts.scale instanceof Float32Array ? "f32" : "f16";
      this.handle = nativeOps.packWeights(
        tensor.dtype,
        rows,
        cols,
        data as Uint8Array,
        parts.group,
        scaleFormat,
        parts.scale,
        parts.zero,
      );
      return;
    }
    if (!tensor.isContiguous)
      throw expected("OUTRIDER_SHAPE", "weights", "a contiguous tensor", `strides ${tensor.strides.join(", ")}`);
    const raw = data instanceof Float32Array ? data : new Uint16Array(data.buffer, data.byteOffset, rows * cols);
    this.handle = nativeOps.packWeights(tensor.dtype, rows, cols, raw, 0, "f16");
  }
}

const packedOf = new WeakMap<WeightTensor, PackedWeights>();

/**
 * Packs a weight matrix. A tensor is packed once, however often it is passed; its elements must not change afterwards.
 * @throws {OutriderError} OUTRIDER_SHAPE unless it is a contiguous f32, f16, bf16 or affine matrix.
 */
export function packWeights(weights: WeightTensor | PackedWeights): PackedWeights {
  if (weights instanceof PackedWeights) return weights;
  const known = packedOf.get(weights);
  if (known) {
    void weights.data; // throws if the tensor has been disposed
    return known;
  }
  const types = ["f32", "f16", "bf16", "affine2", "affine3", "affine4", "affine8"];
  if (!(weights instanceof Tensor) || !types.includes(weights.dtype) || weights.rank !== 2) {
    throw expected(
      "OUTRIDER_SHAPE",
      "weights",
      `a matrix of ${types.join(", ")}`,
      weights instanceof Tensor ? weights.dtype : weights,
    );
  }
  const packed = new PackedWeights(weights);
  packedOf.set(weights, packed);
  return packed;
}
