// Writes safetensors files whole or not at all: to a temporary file, fsync, rename.

import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { OutriderError } from "../errors.ts";
import { readSafetensors } from "../load/safetensors.ts";

/** One tensor to write. */
export interface StoredTensor {
  name: string;
  dtype: "U8" | "F16" | "F32";
  shape: readonly number[];
  data: Uint8Array | Uint16Array | Float32Array;
}

interface HeaderEntry {
  name: string;
  dtype: string;
  shape: readonly number[];
  byteLength: number;
}

function header(entries: readonly HeaderEntry[], metadata: Record<string, string>): Buffer {
  const value: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const { name, dtype, shape, byteLength } of entries) {
    value[name] = { dtype, shape, data_offsets: [at, at + byteLength] };
    at += byteLength;
  }
  const text = JSON.stringify(value);
  const padded = text + " ".repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(padded)));
  return Buffer.concat([length, Buffer.from(padded)]);
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

/** Writes a file by `write`, whole or not at all. @throws {OutriderError} OUTRIDER_IO. */
export async function writeWhole(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const handle = await open(temporary, "wx");
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    const folder = await open(path.dirname(file), "r");
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof OutriderError || (error as NodeJS.ErrnoException).code === undefined) throw error;
    throw new OutriderError("OUTRIDER_IO", `Cannot write ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Text to a file, whole or not at all. */
export const writeText = (file: string, text: string) =>
  writeWhole(file, (handle) => writeAll(handle, Buffer.from(text)));

/** Tensors to a file, in order. */
export async function writeSafetensors(
  file: string,
  tensors: readonly StoredTensor[],
  metadata: Record<string, string> = {},
): Promise<void> {
  const entries = tensors.map((tensor) => ({ ...tensor, byteLength: tensor.data.byteLength }));
  await writeWhole(file, async (handle) => {
    await writeAll(handle, header(entries, { format: "pt", ...metadata }));
    for (const { data } of tensors)
      await writeAll(handle, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  });
}

const dtypes: Record<string, string> = { u8: "U8", f16: "F16", f32: "F32" };

/** The tensors of several files in one, their bytes copied in pieces. */
export async function joinSafetensors(file: string, parts: readonly string[]): Promise<number> {
  const read = await Promise.all(parts.map((part) => readSafetensors(part)));
  const entries = read.flatMap(({ tensors }) => [...tensors.values()].sort((a, b) => a.offset - b.offset));
  let bytes = 0;
  await writeWhole(file, async (handle) => {
    const start = header(
      entries.map(({ name, format, shape, byteLength }) => ({ name, dtype: dtypes[format], shape, byteLength })),
      { format: "pt" },
    );
    await writeAll(handle, start);
    bytes = start.length;
    const piece = Buffer.alloc(4 << 20);
    for (const entry of entries) {
      const from = await open(entry.file, "r");
      try {
        for (let at = 0; at < entry.byteLength; ) {
          const { bytesRead } = await from.read(
            piece,
            0,
            Math.min(piece.length, entry.byteLength - at),
            entry.offset + at,
          );
          if (bytesRead === 0) throw new OutriderError("OUTRIDER_IO", `${entry.file} was cut short while it was read`);
          await writeAll(handle, piece.subarray(0, bytesRead));
          at += bytesRead;
        }
      } finally {
        await from.close();
      }
      bytes += entry.byteLength;
    }
  });
  return bytes;
}
