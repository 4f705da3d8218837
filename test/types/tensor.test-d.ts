// Wrong element types and ranks must not compile. Checked by `tsc --noEmit`; nothing here runs.
import { argmax, f16, f32, i32, layernorm, rmsnorm, rope, sample, softmax, Tensor, topk } from "../../lib/ops/index.ts";

const matrix = f32([1, 2, 3, 4], [2, 2]);
const vector = f32([1, 2], [2]);
const heads = f32(new Float32Array(8), [2, 2, 2]);
const ids = i32([0, 1], [2]);
const half = f16([1, 2, 3, 4], [2, 2]);

// What is right compiles, and element type and rank come out as they went in.
export const typedMatrix: Tensor<"f32", 2> = matrix;
export const typedHalf: Tensor<"f16", 2> = half;
export const rows: readonly [number, number] = matrix.shape;
export const values: Float32Array = matrix.data;
export const reshaped: Tensor<"f32", 3> = matrix.reshape([1, 2, 2]);
export const normed: Tensor<"f32", 2> = rmsnorm({ x: matrix, weight: vector });
export const fromHalf: Tensor<"f32", 2> = softmax({ x: half });
export const best: Tensor<"i32", 1> = argmax({ x: matrix });
export const packed: Tensor<"affine4", 2> = Tensor.affine({
  bits: 4,
  group: 2,
  codes: new Uint8Array(2),
  scale: new Float32Array(2),
  zero: new Float32Array(2),
  shape: [2, 2],
});

// Element types.
// @ts-expect-error i32 is not f32
export const wrongType: Tensor<"f32", 1> = ids;
// @ts-expect-error data of i32 is not a Float32Array
export const wrongData: Float32Array = ids.data;
// @ts-expect-error f32 elements are not an Int32Array
Tensor.from("f32", new Int32Array(2), [2]);
// @ts-expect-error no such element type
Tensor.zeros("f8", [2]);
// @ts-expect-error rows of integers have no norm
rmsnorm({ x: ids });
// @ts-expect-error a packed matrix is no activation
softmax({ x: packed });
// @ts-expect-error positions are i32
rope({ x: heads, positions: vector, frequencies: { invFreq: new Float32Array(1), magnitude: 1 } });
// @ts-expect-error results are f32
layernorm({ x: matrix, out: half });

// Ranks.
// @ts-expect-error rank 2 is not rank 1
export const wrongRank: Tensor<"f32", 1> = matrix;
// @ts-expect-error a matrix has two dimensions
export const third: number = matrix.shape[2];
// @ts-expect-error a weight has one dimension
rmsnorm({ x: matrix, weight: matrix });
// @ts-expect-error top-k works on rows of a matrix
topk({ x: vector, k: 1 });
// @ts-expect-error one row of logits is a vector
sample({ logits: matrix });
// @ts-expect-error the result has the rank of the input
export const flat: Tensor<"f32", 1> = rmsnorm({ x: matrix });
