// Norms and biases as their source holds them, in the decoder's order.

import { open } from "node:fs/promises";
import { OutriderError } from "../errors.ts";
import type { VectorSource } from "../native.ts";
import { fromBf16, fromF16 } from "../tensor/dtype.ts";

/** The values of a vector, without what the decoder adds to them. */
export async function storedVector(source: VectorSource, files: readonly string[]): Promise<Float32Array> {
  const { format, length, start = 0, permutedHeads = 0, data } = source;
  const handle = await open(files[data.file], "r");
  const raw = new Uint8Array(data.byteLength);
  try {
    const { bytesRead } = await handle.read(raw, 0, raw.length, data.offset);
    if (bytesRead !== raw.length)
      throw new OutriderError("OUTRIDER_IO", `${files[data.file]} was cut short while it was read`);
  } finally {
    await handle.close();
  }
  const halves = format === "f32" ? undefined : new Uint16Array(raw.buffer);
  const floats = format === "f32" ? new Float32Array(raw.buffer) : undefined;
  const at = (i: number): number => {
    if (floats) return floats[i];
    return format === "f16" ? fromF16(halves?.[i] ?? 0) : fromBf16(halves?.[i] ?? 0);
  };
  // GGUF interleaves the halves of each head: row (h, 2 i + j) holds (h, i + j D / 2).
  const D = permutedHeads > 0 ? length / permutedHeads : length;
  const stored = (row: number) => {
    if (permutedHeads === 0) return row;
    const d = row % D;
    return row - d + (d < D / 2 ? 2 * d : 2 * (d - D / 2) + 1);
  };
  return Float32Array.from({ length }, (_, i) => at(start + stored(i)));
}
