// Shorthands that make small tensors from plain numbers: f32([1, 2, 3, 4], [2, 2]).

import { expected } from "../errors.ts";
import { arrayOf, type DataOf, holds, type PlainType, toBf16, toF16 } from "./dtype.ts";
import { Tensor } from "./tensor.ts";

/** A typed array, which is shared, or plain numbers, which are rounded to the element type. */
type Values<D extends PlainType> = DataOf<D> | readonly number[];

const encode: Partial<Record<PlainType, (value: number) => number>> = { f16: toF16, bf16: toBf16 };

function make<D extends PlainType, const S extends readonly number[]>(
  dtype: D,
  values: Values<D>,
  shape: S,
): Tensor<D, S["length"]> {
  if (holds(dtype, values)) return Tensor.from(dtype, values as DataOf<D>, shape);
  if (!Array.isArray(values)) throw expected("OUTRIDER_SHAPE", "values", `numbers or an array for ${dtype}`, values);
  const Type = arrayOf(dtype);
  const data = new Type(values.length);
  // A Float16Array rounds by itself; bits have to be made.
  const toElement = data instanceof Uint16Array ? encode[dtype] : undefined;
  for (let i = 0; i < values.length; i++) data[i] = toElement ? toElement(values[i]) : values[i];
  return Tensor.from(dtype, data as DataOf<D>, shape);
}

const maker =
  <const D extends PlainType>(dtype: D) =>
  /** A tensor of the given values, row by row. @throws {OutriderError} OUTRIDER_SHAPE */
  <const S extends readonly number[]>(values: Values<D>, shape: S): Tensor<D, S["length"]> =>
    make(dtype, values, shape);

export const f64 = maker("f64");
export const f32 = maker("f32");
export const f16 = maker("f16");
export const bf16 = maker("bf16");
export const i32 = maker("i32");
export const u32 = maker("u32");
export const i8 = maker("i8");
export const u8 = maker("u8");
/** A matrix of affine grouped integers; see {@link Tensor.affine}. */
export const affine = Tensor.affine;
