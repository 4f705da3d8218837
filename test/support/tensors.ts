// Reads whole tensors of small safetensors files.
import { readFileSync } from "node:fs";
import { readSafetensors } from "../../lib/load/safetensors.ts";
import type { TensorEntry } from "../../lib/tensor/entry.ts";

/** A copy of the bytes of one tensor. */
export function entryBytes({ file, offset, byteLength }: TensorEntry): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(readFileSync(file).subarray(offset, offset + byteLength));
}

/** The values of one tensor, i32 or f32. */
export async function readTensor(file: string, name: string): Promise<Int32Array | Float32Array> {
  const entry = (await readSafetensors(file)).tensors.get(name);
  if (!entry) throw new Error(`no tensor ${name} in ${file}`);
  const bytes = entryBytes(entry).buffer;
  return entry.format === "i32" ? new Int32Array(bytes) : new Float32Array(bytes);
}

/** The largest absolute difference; NaN anywhere gives Infinity. */
export function worstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return worst;
}
