// Element types and the typed arrays that hold them.

/** Plain element types, in the order of native/base/dtype.h. */
export const plainTypes = ["f64", "f32", "f16", "bf16", "i32", "u32", "i8", "u8"] as const;
export type PlainType = (typeof plainTypes)[number];

/** Affine grouped integers: w = scale * code + zero, codes of 2, 3, 4 or 8 bits. */
export type AffineType = "affine2" | "affine3" | "affine4" | "affine8";

/** Element type of a tensor. */
export type DType = PlainType | AffineType;

interface ArrayTypes {
  f64: Float64Array;
  f32: Float32Array;
  /** Float16Array where the runtime has it; its bits otherwise. */
  f16: Uint16Array;
  bf16: Uint16Array;
  i32: Int32Array;
  u32: Uint32Array;
  i8: Int8Array;
  u8: Uint8Array;
  affine2: Uint8Array;
  affine3: Uint8Array;
  affine4: Uint8Array;
  affine8: Uint8Array;
}

/** The typed array that holds a tensor of type `D`. */
export type DataOf<D extends DType> = ArrayTypes[D];

type ArrayConstructor = {
  new (length: number): ArrayTypes[DType];
  new (buffer: ArrayBufferLike, offset: number, length: number): ArrayTypes[DType];
  readonly BYTES_PER_ELEMENT: number;
};

const float16 = (globalThis as { Float16Array?: unknown }).Float16Array ?? Uint16Array;
const constructors: Record<DType, unknown> = {
  f64: Float64Array,
  f32: Float32Array,
  f16: float16,
  bf16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i8: Int8Array,
  u8: Uint8Array,
  affine2: Uint8Array,
  affine3: Uint8Array,
  affine4: Uint8Array,
  affine8: Uint8Array,
};

/** Whether a value names an element type. */
export function isDType(value: unknown): value is DType {
  return typeof value === "string" && Object.hasOwn(constructors, value);
}

/** The typed array class of an element type. */
export function arrayOf(dtype: DType): ArrayConstructor {
  return constructors[dtype] as ArrayConstructor;
}

/** Whether `data` is an array that can hold `dtype`. f16 may always be given as bits. */
export function holds(dtype: DType, data: unknown): boolean {
  if (data instanceof (constructors[dtype] as new () => unknown)) return true;
  return dtype === "f16" && data instanceof Uint16Array;
}

/** A Float16Array, which the types of older targets do not have. */
export interface HalfArray extends ArrayLike<number> {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly BYTES_PER_ELEMENT: number;
  readonly [Symbol.toStringTag]: "Float16Array";
}

/** The bits of a Float16Array, in the same memory; anything else as it is. */
export function asHalfBits<T>(values: T): Exclude<T, HalfArray> | Uint16Array {
  if (float16 === Uint16Array || !holds("f16", values) || values instanceof Uint16Array) return values as never;
  const { buffer, byteOffset, length } = values as unknown as HalfArray;
  return new Uint16Array(buffer, byteOffset, length);
}

/** Bits per code of an affine type; 0 for plain types. */
export function codeBits(dtype: DType): number {
  return dtype.startsWith("affine") ? Number(dtype.slice(6)) : 0;
}

/** IEEE binary16 bits to a number. */
export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** A number to IEEE binary16 bits, to nearest, ties to even. */
export function toF16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = Math.max(Math.floor(Math.log2(magnitude || 2 ** -24)), -14);
  const unit = 2 ** (exponent - 10);
  const scaled = magnitude / unit; // exact: a power of two
  let rounded = Math.floor(scaled);
  const rest = scaled - rounded;
  if (rest > 0.5 || (rest === 0.5 && rounded % 2 === 1)) rounded += 1;
  return sign | (rounded < 1024 ? rounded : rounded + ((exponent + 14) << 10));
}

const scratch = new DataView(new ArrayBuffer(4));

/** bfloat16 bits to a number. */
export function fromBf16(bits: number): number {
  scratch.setUint32(0, (bits << 16) >>> 0);
  return scratch.getFloat32(0);
}

/** A number to bfloat16 bits, to nearest, ties to even. */
export function toBf16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if (Number.isNaN(value)) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
