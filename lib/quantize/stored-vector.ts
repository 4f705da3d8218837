// Norms and biases as their source holds them, in the decoder's order.

import { readFloats } from "../load/read-floats.ts";
import type { VectorSource } from "../native.ts";

/** The values of a vector, without what the decoder adds to them. */
export async function storedVector(source: VectorSource, files: readonly string[]): Promise<Float32Array> {
  const { format, length, start = 0, permutedHeads = 0, data } = source;
  const values = await readFloats(files[data.file], format, data);
  // GGUF interleaves the halves of each head: row (h, 2 i + j) holds (h, i + j D / 2).
  const D = permutedHeads > 0 ? length / permutedHeads : length;
  const stored = (row: number) => {
    if (permutedHeads === 0) return row;
    const d = row % D;
    return row - d + (d < D / 2 ? 2 * d : 2 * (d - D / 2) + 1);
  };
  return Float32Array.from({ length }, (_, i) => values[start + stored(i)]);
}
