// safetensors: an 8-byte header length, a JSON header, then the bytes of all tensors without holes or overlaps.

import { realpath } from "node:fs/promises";
import path from "node:path";
import { describe, expected, OutriderError } from "../errors.ts";
import type { StoredFormat, TensorEntry, TensorTable } from "../tensor/entry.ts";
import { parseJsonNames, readExactly, readJsonObject, withFile } from "./read-file.ts";

const maxHeaderBytes = 100 * 1024 * 1024;

const formats: Record<string, { format: StoredFormat; bytes: number }> = {
  F64: { format: "f64", bytes: 8 },
  F32: { format: "f32", bytes: 4 },
  F16: { format: "f16", bytes: 2 },
  BF16: { format: "bf16", bytes: 2 },
  I64: { format: "i64", bytes: 8 },
  I32: { format: "i32", bytes: 4 },
  I16: { format: "i16", bytes: 2 },
  I8: { format: "i8", bytes: 1 },
  U64: { format: "u64", bytes: 8 },
  U32: { format: "u32", bytes: 4 },
  U16: { format: "u16", bytes: 2 },
  U8: { format: "u8", bytes: 1 },
  BOOL: { format: "bool", bytes: 1 },
  F8_E4M3: { format: "f8_e4m3", bytes: 1 },
  F8_E5M2: { format: "f8_e5m2", bytes: 1 },
};

/** What a safetensors file says about itself. */
export interface Safetensors {
  tensors: TensorTable;
  metadata: Record<string, string>;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function parseEntry(file: string, name: string, value: unknown, dataStart: number, dataBytes: number): TensorEntry {
  const bad = (what: string, actual: unknown) =>
    new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected ${what} for tensor ${describe(name)} in ${file}, received ${describe(actual)}`,
    );
  if (typeof value !== "object" || value === null) throw bad("an object", value);
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  const known = typeof dtype === "string" && Object.hasOwn(formats, dtype) ? formats[dtype] : undefined;
  if (!known) throw bad(`a dtype of ${Object.keys(formats).join(", ")}`, dtype);
  if (!Array.isArray(shape) || shape.length > 16 || !shape.every(isCount))
    throw bad("a shape of non-negative integers", shape);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad("two data offsets", offsets);
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) throw bad(`data offsets within ${dataBytes} bytes`, `${begin}..${end}`);
  let bytes = known.bytes;
  for (const dimension of shape as number[]) bytes *= dimension;
  if (bytes !== end - begin) throw bad(`${bytes} bytes, as its shape says`, end - begin);
  return { name, format: known.format, shape: shape as number[], file, offset: dataStart + begin, byteLength: bytes };
}

/** Tensors must cover the data area exactly: the format allows neither holes nor overlaps. */
function checkCover(file: string, entries: TensorEntry[], dataStart: number, fileBytes: number): void {
  let at = dataStart;
  for (const entry of [...entries].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    if (entry.offset !== at) {
      const what = entry.offset < at ? "overlaps another" : "leaves a hole before it";
      throw new OutriderError("OUTRIDER_FORMAT", `Tensor ${describe(entry.name)} in ${file} ${what}`);
    }
    at += entry.byteLength;
  }
  if (at !== fileBytes)
    throw new OutriderError("OUTRIDER_FORMAT", `Expected ${file} to end at byte ${at}, received ${fileBytes} bytes`);
}

/**
 * Reads and validates the header of one safetensors file.
 * @throws {OutriderError} OUTRIDER_FORMAT, OUTRIDER_NOT_FOUND or OUTRIDER_IO, naming the file and tensor.
 */
export async function readSafetensors(file: string): Promise<Safetensors> {
  return withFile(file, async (handle, size) => {
    if (size < 8) throw new OutriderError("OUTRIDER_FORMAT", `Expected 8 bytes or more for ${file}, received ${size}`);
    const headerBytes = Number((await readExactly(handle, file, 0, 8)).readBigUInt64LE());
    if (headerBytes > maxHeaderBytes || headerBytes > size - 8) {
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected a header of at most ${Math.min(maxHeaderBytes, size - 8)} bytes for ${file}, received ${headerBytes}`,
      );
    }
    const raw = await readExactly(handle, file, 8, headerBytes);
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
    } catch (error) {
      throw new OutriderError("OUTRIDER_FORMAT", `Expected UTF-8 in the header of ${file}`, { cause: error });
    }
    const header = parseJsonNames(text, `the header of ${file}`);
    const dataStart = 8 + headerBytes;
    const metadata: Record<string, string> = {};
    const tensors = new Map<string, TensorEntry>();
    for (const [name, value] of Object.entries(header)) {
      if (name !== "__metadata__") tensors.set(name, parseEntry(file, name, value, dataStart, size - dataStart));
      else Object.assign(metadata, value);
    }
    checkCover(file, [...tensors.values()], dataStart, size);
    return { tensors, metadata };
  });
}

/**
 * Tensors of a model folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
 * @throws {OutriderError} as {@link readSafetensors}; also when the index and the shards disagree.
 */
export async function readSafetensorsFolder(folder: string): Promise<TensorTable> {
  const index = await readJsonObject(path.join(folder, "model.safetensors.index.json"));
  if (!index) return (await readSafetensors(path.join(folder, "model.safetensors"))).tensors;
  const weightMap = index.weight_map;
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw expected("OUTRIDER_FORMAT", `the safetensors index of ${folder}`, "an object weight_map", weightMap);
  }
  const shards = new Map<string, TensorTable>();
  const tensors = new Map<string, TensorEntry>();
  for (const [name, shard] of Object.entries(weightMap)) {
    const inside = typeof shard === "string" && shard === path.basename(shard) && !shard.includes("\0");
    if (!inside || !shard.endsWith(".safetensors")) {
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected a shard inside ${folder} for tensor ${describe(name)}, received ${describe(shard)}`,
      );
    }
    let table = shards.get(shard);
    if (!table) {
      table = (await readSafetensors(await realpath(path.join(folder, shard)).catch(() => path.join(folder, shard))))
        .tensors;
      shards.set(shard, table);
    }
    const entry = table.get(name);
    if (!entry)
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected tensor ${describe(name)} in ${shard} of ${folder}, as the index says`,
      );
    tensors.set(name, entry);
  }
  return tensors;
}
