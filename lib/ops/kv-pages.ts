// Keys and values of one layer in pages of 64 tokens (native/formats/kv_page.h), for the attention op.

import { badArgument, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type FloatType, nativeOps } from "./native-ops.ts";

/** Tokens in a page. */
export const pageTokens = 64;

/** A growing run of pages: keys and values of `G` heads of size `D`. */
export class KvPages {
  readonly type: FloatType;
  readonly heads: number;
  readonly headDim: number;
  #data: Float32Array | Uint16Array;
  #length = 0;

  /** @param type element type of the pages; values are rounded to it. */
  constructor(type: FloatType, heads: number, headDim: number) {
    if (!["f32", "f16", "bf16"].includes(type)) throw badArgument("type", "f32, f16 or bf16", type);
    if (!Number.isInteger(heads) || heads < 1 || heads > 4096)
      throw badArgument("heads", "an integer from 1 to 4096", heads);
    if (!Number.isInteger(headDim) || headDim < 1 || headDim > 512)
      throw badArgument("headDim", "an integer from 1 to 512", headDim);
    this.type = type;
    this.heads = heads;
    this.headDim = headDim;
    this.#data = type === "f32" ? new Float32Array(0) : new Uint16Array(0);
  }

  /** Tokens held. */
  get length(): number {
    return this.#length;
  }

  /** The pages' memory, `[pages, G, 2 * 64 * D]`. */
  get data(): Float32Array | Uint16Array {
    return this.#data;
  }

  /** Appends the key and value of one token, `[G, D]` each. @throws {OutriderError} OUTRIDER_SHAPE */
  append(key: Tensor<"f32", 2>, value: Tensor<"f32", 2>): void {
    const { G, D } = bindDims<"G" | "D">({ key: [key, "f32[G, D]"], value: [value, "f32[G, D]"] });
    if (G !== this.heads || D !== this.headDim)
      throw expected("OUTRIDER_SHAPE", "key", `[${this.heads}, ${this.headDim}]`, `[${G}, ${D}]`);
    const page = 2 * pageTokens * this.headDim * this.heads;
    if (this.#length % pageTokens === 0) {
      const grown =
        this.type === "f32" ? new Float32Array(this.#data.length + page) : new Uint16Array(this.#data.length + page);
      grown.set(this.#data);
      this.#data = grown;
    }
    nativeOps.kvWrite(
      this.#data,
      this.type,
      this.heads,
      this.headDim,
      this.#length,
      key.toFloat32(),
      value.toFloat32(),
    );
    this.#length += 1;
  }
}
