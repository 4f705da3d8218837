/// <reference lib="esnext.disposable" preserve="true" />
// Typed tensors: element type and rank in the type, memory shared with JavaScript's own arrays.

import { types } from "node:util";
import { badArgument, expected, OutriderError } from "../errors.ts";
import {
  type AffineType,
  arrayOf,
  asHalfBits,
  codeBits,
  type DataOf,
  type DType,
  fromBf16,
  fromF16,
  type HalfArray,
  holds,
  isDType,
  type PlainType,
} from "./dtype.ts";

/** A tuple of `R` numbers. */
export type Shape<R extends number> = number extends R ? readonly number[] : Tuple<R>;
type Tuple<R extends number, T extends readonly number[] = readonly []> = T["length"] extends R
  ? T
  : T["length"] extends 8
    ? readonly number[]
    : Tuple<R, readonly [...T, number]>;

/** Parameters of an affine tensor `[rows, cols]`. */
export interface AffineParts {
  bits: 2 | 3 | 4 | 8;
  /** Columns that share a scale and a zero; the last group of a row may be short. */
  group: number;
  /** Row-major codes, lowest bits first, `ceil(cols * bits / 8)` bytes a row. */
  codes: Uint8Array;
  /** `[rows, ceil(cols / group)]`: f32, or f16 as bits or in a Float16Array. */
  scale: Float32Array | Uint16Array | HalfArray;
  zero: Float32Array | Uint16Array | HalfArray;
  shape: readonly [number, number];
}

const disposeSymbol: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");

function checkShape(shape: readonly number[]): number {
  if (!Array.isArray(shape)) throw expected("OUTRIDER_SHAPE", "shape", "an array of dimensions", shape);
  let count = 1;
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0)
      throw expected("OUTRIDER_SHAPE", "shape", "non-negative integers", dimension);
    count *= dimension;
  }
  if (!Number.isSafeInteger(count)) throw expected("OUTRIDER_SHAPE", "shape", "fewer than 2^53 elements", count);
  return count;
}

/** Strides in elements of a row-major shape. */
function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/**
 * A tensor of element type `D` and rank `R`. It never copies: `data` is the memory it was made from.
 * @example const x = Tensor.from("f32", new Float32Array([1, 2, 3, 4]), [2, 2]);
 */
export class Tensor<D extends DType = DType, R extends number = number> {
  readonly dtype: D;
  readonly shape: Shape<R>;
  /** Elements from one index to the next, per dimension. */
  readonly strides: Shape<R>;
  readonly #parts: { scale: Float32Array | Uint16Array; zero: Float32Array | Uint16Array; group: number } | undefined;
  #data: DataOf<D> | undefined;

  private constructor(
    dtype: D,
    data: DataOf<D>,
    shape: readonly number[],
    strides: readonly number[],
    parts?: Tensor["affineParts"],
  ) {
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]) as Shape<R>;
    this.strides = Object.freeze([...strides]) as Shape<R>;
    this.#data = data;
    this.#parts = parts;
  }

  /**
   * A tensor over an existing typed array, which must have exactly the elements the shape asks for.
   * @throws {OutriderError} OUTRIDER_SHAPE
   */
  static from<const D extends PlainType, const S extends readonly number[]>(
    dtype: D,
    data: DataOf<D>,
    shape: S,
  ): Tensor<D, S["length"]> {
    if (!isDType(dtype) || codeBits(dtype) > 0) throw badArgument("dtype", "a plain element type", dtype);
    if (!holds(dtype, data)) throw expected("OUTRIDER_SHAPE", "data", `a ${arrayOf(dtype).name} for ${dtype}`, data);
    const count = checkShape(shape);
    if (data.length !== count)
      throw expected("OUTRIDER_SHAPE", "data", `${count} elements for shape [${shape.join(", ")}]`, data.length);
    return new Tensor<D, S["length"]>(dtype, data, shape, rowMajor(shape));
  }

  /** A tensor of zeros. */
  static zeros<const D extends PlainType, const S extends readonly number[]>(
    dtype: D,
    shape: S,
  ): Tensor<D, S["length"]> {
    if (!isDType(dtype) || codeBits(dtype) > 0) throw badArgument("dtype", "a plain element type", dtype);
    const count = checkShape(shape);
    let data: DataOf<D>;
    try {
      data = new (arrayOf(dtype))(count) as DataOf<D>;
    } catch (error) {
      const size = `[${shape.join(", ")}] in ${dtype}`;
      throw expected("OUTRIDER_MEMORY", "shape", "a size that can be allocated", size, { cause: error });
    }
    return Tensor.from(dtype, data, shape);
  }

  /**
   * A view of an ArrayBuffer or SharedArrayBuffer.
   * @throws {OutriderError} OUTRIDER_SHAPE if the range is misaligned or outside the buffer.
   */
  static view<const D extends PlainType, const S extends readonly number[]>(
    dtype: D,
    buffer: ArrayBufferLike,
    shape: S,
    byteOffset = 0,
  ): Tensor<D, S["length"]> {
    if (!isDType(dtype) || codeBits(dtype) > 0) throw badArgument("dtype", "a plain element type", dtype);
    if (!types.isAnyArrayBuffer(buffer)) throw badArgument("buffer", "an ArrayBuffer or a SharedArrayBuffer", buffer);
    const count = checkShape(shape);
    const type = arrayOf(dtype);
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset % type.BYTES_PER_ELEMENT !== 0) {
      throw expected(
        "OUTRIDER_SHAPE",
        "byteOffset",
        `a multiple of ${type.BYTES_PER_ELEMENT} for ${dtype}`,
        byteOffset,
      );
    }
    if (byteOffset + count * type.BYTES_PER_ELEMENT > buffer.byteLength) {
      throw expected(
        "OUTRIDER_SHAPE",
        "buffer",
        `${byteOffset + count * type.BYTES_PER_ELEMENT} bytes or more`,
        buffer.byteLength,
      );
    }
    return Tensor.from(dtype, new type(buffer, byteOffset, count) as DataOf<D>, shape);
  }

  /**
   * A matrix of affine grouped integers.
   * @throws {OutriderError} OUTRIDER_SHAPE if the parts do not fit together.
   */
  static affine<const B extends 2 | 3 | 4 | 8>(parts: AffineParts & { bits: B }): Tensor<`affine${B}` & AffineType, 2> {
    if (typeof parts !== "object" || parts === null) throw badArgument("parts", "an object of affine parts", parts);
    const { bits, group, codes, shape } = parts;
    const scale = asHalfBits(parts.scale);
    const zero = asHalfBits(parts.zero);
    if (bits !== 2 && bits !== 3 && bits !== 4 && bits !== 8) throw badArgument("bits", "2, 3, 4 or 8", bits);
    checkShape(shape);
    if (shape.length !== 2) throw expected("OUTRIDER_SHAPE", "shape", "two dimensions", shape);
    if (!Number.isSafeInteger(group) || group < 1) throw badArgument("group", "a positive integer", group);
    const [rows, cols] = shape;
    const rowBytes = Math.ceil((cols * bits) / 8);
    const groups = Math.ceil(cols / group);
    if (!(codes instanceof Uint8Array) || codes.length !== rows * rowBytes) {
      const what = codes instanceof Uint8Array ? codes.length : codes;
      throw expected("OUTRIDER_SHAPE", "codes", `a Uint8Array of ${rows * rowBytes}`, what);
    }
    for (const [name, values] of [
      ["scale", scale],
      ["zero", zero],
    ] as const) {
      if (!(values instanceof Float32Array || values instanceof Uint16Array) || values.length !== rows * groups) {
        throw expected("OUTRIDER_SHAPE", name, `${rows * groups} values in f32 or f16`, values?.length);
      }
    }
    if (scale.constructor !== zero.constructor) throw expected("OUTRIDER_SHAPE", "zero", "the type of scale", zero);
    return new Tensor<`affine${B}` & AffineType, 2>(
      `affine${bits}` as `affine${B}` & AffineType,
      codes as never,
      shape,
      rowMajor(shape),
      { scale, zero, group },
    );
  }

  /** Scale, zero and group size of an affine tensor; undefined for plain types. */
  get affineParts():
    | { scale: Float32Array | Uint16Array; zero: Float32Array | Uint16Array; group: number }
    | undefined {
    return this.#parts;
  }

  /**
   * The memory itself: elements for plain types, packed codes for affine ones.
   * @throws {OutriderError} OUTRIDER_DISPOSED after dispose() and when the buffer was transferred away.
   */
  get data(): DataOf<D> {
    const data = this.#data;
    if (!data) throw new OutriderError("OUTRIDER_DISPOSED", "Expected a live tensor, received one that was disposed");
    if (data.length === 0 && this.size > 0)
      throw new OutriderError("OUTRIDER_DISPOSED", "Expected a live tensor, received one whose buffer was detached");
    return data;
  }

  get rank(): number {
    return (this.shape as readonly number[]).length;
  }

  /** Number of elements. */
  get size(): number {
    return (this.shape as readonly number[]).reduce((count, dimension) => count * dimension, 1);
  }

  /** Bytes of `data`, scale and zero of affine tensors included. */
  get byteLength(): number {
    return this.data.byteLength + (this.#parts ? this.#parts.scale.byteLength + this.#parts.zero.byteLength : 0);
  }

  /** Whether elements lie in row-major order without gaps. */
  get isContiguous(): boolean {
    const dense = rowMajor(this.shape as readonly number[]);
    return (this.strides as readonly number[]).every(
      (stride, i) => stride === dense[i] || (this.shape as readonly number[])[i] <= 1,
    );
  }

  /** The same memory under another shape. @throws {OutriderError} OUTRIDER_SHAPE if the sizes differ or rows have gaps. */
  reshape<const S extends readonly number[]>(shape: S): Tensor<D, S["length"]> {
    if (this.#parts) throw expected("OUTRIDER_SHAPE", "reshape", "a plain tensor", this.dtype);
    if (checkShape(shape) !== this.size)
      throw expected("OUTRIDER_SHAPE", "shape", `${this.size} elements`, shape.join(" x "));
    if (!this.isContiguous)
      throw expected(
        "OUTRIDER_SHAPE",
        "reshape",
        "a contiguous tensor",
        `strides ${(this.strides as readonly number[]).join(", ")}`,
      );
    return new Tensor<D, S["length"]>(this.dtype, this.data, shape, rowMajor(shape));
  }

  /** Columns `[begin, end)` of a matrix: a view with the same row stride. */
  columns(this: Tensor<D & PlainType, 2>, begin: number, end: number): Tensor<D & PlainType, 2> {
    const [rows, cols] = this.shape;
    if (!Number.isInteger(begin) || !Number.isInteger(end) || begin < 0 || end < begin || end > cols) {
      throw expected("OUTRIDER_SHAPE", "columns", `a range within ${cols}`, `${begin}..${end}`);
    }
    return new Tensor<D & PlainType, 2>(
      this.dtype,
      this.data.subarray(begin) as DataOf<D & PlainType>,
      [rows, end - begin],
      this.strides,
    );
  }

  /** Row `index` of the first dimension, as a view. */
  row(this: Tensor<D & PlainType, R>, index: number): Tensor<D & PlainType, number> {
    const shape = this.shape as readonly number[];
    const strides = this.strides as readonly number[];
    if (!Number.isInteger(index) || index < 0 || index >= (shape[0] ?? 0))
      throw expected("OUTRIDER_SHAPE", "row", `an index below ${shape[0]}`, index);
    return new Tensor<D & PlainType, number>(
      this.dtype,
      this.data.subarray(index * strides[0]) as DataOf<D & PlainType>,
      shape.slice(1),
      strides.slice(1),
    );
  }

  /** A copy of the elements as f32, in row-major order; affine tensors are dequantised. */
  toFloat32(): Float32Array {
    return this.#parts ? this.#dequantise(this.#parts) : this.#gather();
  }

  #dequantise({ scale, zero, group }: NonNullable<Tensor["affineParts"]>): Float32Array {
    const [rows, cols] = this.shape as unknown as [number, number];
    const bits = codeBits(this.dtype);
    const rowBytes = Math.ceil((cols * bits) / 8);
    const groups = Math.ceil(cols / group);
    const parameter = (values: Float32Array | Uint16Array, at: number) =>
      values instanceof Float32Array ? values[at] : fromF16(values[at]);
    const codes = this.data as Uint8Array;
    const out = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < cols; k++) {
        const byte = r * rowBytes + ((k * bits) >> 3);
        const two = codes[byte] | ((codes[byte + 1] ?? 0) << 8); // codes of 3 bits lie across bytes
        const code = (two >> ((k * bits) & 7)) & ((1 << bits) - 1);
        const at = r * groups + Math.floor(k / group);
        out[r * cols + k] = Math.fround(parameter(scale, at) * code) + parameter(zero, at);
      }
    }
    return out;
  }

  #gather(): Float32Array {
    const data = this.data;
    const bits16 = data instanceof Uint16Array;
    const decode = bits16 && this.dtype === "f16" ? fromF16 : bits16 && this.dtype === "bf16" ? fromBf16 : Number;
    const shape = this.shape as readonly number[];
    const strides = this.strides as readonly number[];
    const out = new Float32Array(this.size);
    const index = new Array<number>(shape.length).fill(0);
    for (let i = 0; i < out.length; i++) {
      let at = 0;
      for (let d = 0; d < shape.length; d++) at += index[d] * strides[d];
      out[i] = decode(data[at]);
      for (let d = shape.length - 1; d >= 0 && ++index[d] === shape[d]; d--) index[d] = 0;
    }
    return out;
  }

  /** Lets go of the memory. Using the tensor afterwards throws OUTRIDER_DISPOSED. */
  dispose(): void {
    this.#data = undefined;
  }

  [disposeSymbol](): void {
    this.dispose();
  }
}
