// GGUF v2 and v3: metadata and tensor table. Strict: every count is held against the bytes that are left before anything
// is allocated for it.

import type { FileHandle } from "node:fs/promises";
import { describe, OutriderError } from "../errors.ts";
import type { StoredFormat, TensorEntry, TensorTable } from "../tensor/entry.ts";
import { readExactly, withFile } from "./read-file.ts";

/** A metadata value: numbers of up to 53 bits are numbers, larger ones bigints; numeric arrays are typed arrays. */
export type GgufValue = string | number | bigint | boolean | string[] | GgufValue[] | NumericArray;
type NumericArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** What a GGUF file says about itself. */
export interface Gguf {
  version: number;
  alignment: number;
  metadata: Map<string, GgufValue>;
  tensors: TensorTable;
}

// Type numbers of the format: name, elements per block, bytes per block.
const tensorTypes = new Map<number, [StoredFormat, number, number]>([
  [0, ["f32", 1, 4]],
  [1, ["f16", 1, 2]],
  [2, ["q4_0", 32, 18]],
  [3, ["q4_1", 32, 20]],
  [6, ["q5_0", 32, 22]],
  [7, ["q5_1", 32, 24]],
  [8, ["q8_0", 32, 34]],
  [10, ["q2_k", 256, 84]],
  [11, ["q3_k", 256, 110]],
  [12, ["q4_k", 256, 144]],
  [13, ["q5_k", 256, 176]],
  [14, ["q6_k", 256, 210]],
  [24, ["i8", 1, 1]],
  [25, ["i16", 1, 2]],
  [26, ["i32", 1, 4]],
  [27, ["i64", 1, 8]],
  [28, ["f64", 1, 8]],
  [30, ["bf16", 1, 2]],
]);
const otherTypes: Record<number, string> = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

const scalarBytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]; // by value type; 8 string, 9 array
const maxDepth = 4;

/** Walks the header through a window that grows as needed; the file is never held whole. */
class Reader {
  readonly #handle: FileHandle;
  readonly #file: string;
  readonly #size: number;
  #window: Buffer = Buffer.alloc(0);
  #start = 0;
  position = 0;

  constructor(handle: FileHandle, file: string, size: number) {
    this.#handle = handle;
    this.#file = file;
    this.#size = size;
  }

  bad(what: string): OutriderError {
    return new OutriderError("OUTRIDER_FORMAT", `Expected ${what} at byte ${this.position} of ${this.#file}`);
  }

  /** Bytes between the position and the end of the file. */
  get left(): number {
    return this.#size - this.position;
  }

  /** Makes `length` bytes available in the window and returns where they begin in it. */
  async need(length: number): Promise<number> {
    if (length > this.left) throw this.bad(`${length} more bytes, received ${this.left}`);
    const at = this.position - this.#start;
    if (at >= 0 && at + length <= this.#window.length) return at;
    const bytes = Math.min(Math.max(length, 1 << 20), this.left);
    this.#window = await readExactly(this.#handle, this.#file, this.position, bytes);
    this.#start = this.position;
    return 0;
  }

  get window(): Buffer {
    return this.#window;
  }

  async u32(): Promise<number> {
    const at = await this.need(4);
    this.position += 4;
    return this.#window.readUInt32LE(at);
  }

  /** A 64-bit count or offset, which must fit a safe integer. */
  async u64(): Promise<number> {
    const at = await this.need(8);
    const value = this.#window.readBigUInt64LE(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.bad(`a count below 2^53, received ${value},`);
    this.position += 8;
    return Number(value);
  }

  async string(): Promise<string> {
    const length = await this.u64();
    const at = await this.need(length);
    this.position += length;
    return this.#window.toString("utf8", at, at + length);
  }

  async strings(count: number): Promise<string[]> {
    if (count > this.left / 8)
      throw this.bad(`at most ${Math.floor(this.left / 8)} strings in an array, received ${count},`);
    const out = new Array<string>(count);
    for (let i = 0; i < count; i++) {
      // Fast path: this string is in the window already, so no promise is needed for it.
      const at = this.position - this.#start;
      if (at + 8 <= this.#window.length && this.#window.readUInt32LE(at + 4) === 0) {
        const length = this.#window.readUInt32LE(at);
        if (at + 8 + length <= this.#window.length) {
          out[i] = this.#window.toString("utf8", at + 8, at + 8 + length);
          this.position += 8 + length;
          continue;
        }
      }
      out[i] = await this.string();
    }
    return out;
  }

  async value(type: number, depth = 0): Promise<GgufValue> {
    if (type === 8) return this.string();
    if (type === 9) return this.array(depth + 1);
    const bytes = scalarBytes[type];
    if (!bytes) throw this.bad(`a known metadata type, received type ${type},`);
    const at = await this.need(bytes);
    this.position += bytes;
    const view = this.#window;
    switch (type) {
      case 0:
        return view.readUInt8(at);
      case 1:
        return view.readInt8(at);
      case 2:
        return view.readUInt16LE(at);
      case 3:
        return view.readInt16LE(at);
      case 4:
        return view.readUInt32LE(at);
      case 5:
        return view.readInt32LE(at);
      case 6:
        return view.readFloatLE(at);
      case 7:
        return view.readUInt8(at) !== 0;
      case 12:
        return view.readDoubleLE(at);
      default: {
        const wide = type === 10 ? view.readBigUInt64LE(at) : view.readBigInt64LE(at);
        return Number.isSafeInteger(Number(wide)) ? Number(wide) : wide;
      }
    }
  }

  async array(depth: number): Promise<GgufValue> {
    if (depth > maxDepth) throw this.bad(`arrays nested at most ${maxDepth} deep`);
    const type = await this.u32();
    const count = await this.u64();
    if (type === 8) return this.strings(count);
    const bytes = type === 9 ? 12 : scalarBytes[type];
    if (!bytes) throw this.bad(`a known element type, received type ${type},`);
    if (count > this.left / bytes)
      throw this.bad(`at most ${Math.floor(this.left / bytes)} elements in an array, received ${count},`);
    if (type === 9) {
      const nested: GgufValue[] = [];
      for (let i = 0; i < count; i++) nested.push(await this.array(depth + 1));
      return nested;
    }
    const at = await this.need(count * bytes);
    this.position += count * bytes;
    const copy = Uint8Array.prototype.slice.call(this.#window, at, at + count * bytes).buffer;
    const kinds = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Uint8Array];
    if (type < 8) return new kinds[type](copy);
    return type === 10 ? new BigUint64Array(copy) : type === 11 ? new BigInt64Array(copy) : new Float64Array(copy);
  }
}

async function readTensorInfo(reader: Reader): Promise<Omit<TensorEntry, "file">> {
  const name = await reader.string();
  const rank = await reader.u32();
  if (rank > 4) throw reader.bad(`at most 4 dimensions for tensor ${describe(name)}, received ${rank},`);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) shape.unshift(await reader.u64()); // the file has the innermost first
  const type = await reader.u32();
  const offset = await reader.u64();
  const known = tensorTypes.get(type);
  if (!known) {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected tensor ${describe(name)} in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K or Q6_K, received ${otherTypes[type] ?? `type ${type}`}`,
    );
  }
  const [format, blockElements, blockBytes] = known;
  if ((shape.at(-1) ?? 1) % blockElements !== 0)
    throw reader.bad(
      `rows of tensor ${describe(name)} in blocks of ${blockElements}, received ${shape.at(-1)} columns,`,
    );
  let byteLength = blockBytes / blockElements;
  for (const dimension of shape) byteLength *= dimension;
  if (!Number.isSafeInteger(byteLength))
    throw reader.bad(`a size within the file for tensor ${describe(name)}, received ${byteLength} bytes,`);
  return { name, format, shape, offset, byteLength };
}

function place(
  reader: Reader,
  file: string,
  size: number,
  infos: Omit<TensorEntry, "file">[],
  alignment: number,
): TensorTable {
  const dataStart = Math.ceil(reader.position / alignment) * alignment;
  const tensors = new Map<string, TensorEntry>();
  for (const info of infos) {
    const offset = dataStart + info.offset;
    const problem =
      info.offset % alignment !== 0
        ? [`an offset that is a multiple of ${alignment}`, info.offset]
        : offset + info.byteLength > size
          ? [`bytes below ${size}`, `${offset} to ${offset + info.byteLength}`]
          : tensors.has(info.name)
            ? ["a name of its own", "it twice"]
            : undefined;
    if (problem) {
      const [what, received] = problem;
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected ${what} for tensor ${describe(info.name)} of ${file}, received ${received}`,
      );
    }
    tensors.set(info.name, { ...info, file, offset });
  }
  let end = 0;
  for (const entry of [...tensors.values()].sort((a, b) => a.offset - b.offset)) {
    if (entry.offset < end)
      throw new OutriderError("OUTRIDER_FORMAT", `Tensor ${describe(entry.name)} of ${file} overlaps another`);
    end = entry.offset + entry.byteLength;
  }
  return tensors;
}

/**
 * Reads and validates the header of a GGUF file.
 * @throws {OutriderError} OUTRIDER_FORMAT for damage, OUTRIDER_UNSUPPORTED for other versions, byte orders and tensor types.
 */
export async function readGguf(file: string): Promise<Gguf> {
  return withFile(file, async (handle, size) => {
    const reader = new Reader(handle, file, size);
    if (size < 24 || (await reader.u32()) !== 0x46554747) {
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected a GGUF file at ${file}: its first four bytes are not "GGUF"`,
      );
    }
    const version = await reader.u32();
    if (version !== 2 && version !== 3) {
      const swapped = version === 0x02000000 || version === 0x03000000;
      throw new OutriderError(
        "OUTRIDER_UNSUPPORTED",
        `Expected GGUF version 2 or 3 in ${file}, received ${swapped ? "a big-endian file" : version}`,
      );
    }
    const tensorCount = await reader.u64();
    const keyCount = await reader.u64();
    // A key takes 13 bytes at least, a tensor 32.
    if (keyCount > size / 13 || tensorCount > size / 32)
      throw reader.bad(`counts that fit ${size} bytes, received ${keyCount} keys and ${tensorCount} tensors,`);
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < keyCount; i++) {
      const key = await reader.string();
      if (metadata.has(key)) throw reader.bad(`each key once, received ${describe(key)} twice,`);
      metadata.set(key, await reader.value(await reader.u32()));
    }
    const alignment = metadata.get("general.alignment") ?? 32;
    if (typeof alignment !== "number" || alignment < 8 || alignment > 1 << 20 || (alignment & (alignment - 1)) !== 0) {
      throw reader.bad(`a power of two for general.alignment, received ${describe(alignment)},`);
    }
    const infos: Omit<TensorEntry, "file">[] = [];
    for (let i = 0; i < tensorCount; i++) infos.push(await readTensorInfo(reader));
    return { version, alignment, metadata, tensors: place(reader, file, size, infos, alignment) };
  });
}
