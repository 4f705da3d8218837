// Values of a stored tensor, for the few that are not packed by the addon.

import { fromBf16, fromF16 } from "../tensor/dtype.ts";
import { readExactly, withFile } from "./read-file.ts";

/**
 * Reads a run of floats as f32.
 * @throws {OutriderError} OUTRIDER_FORMAT if the file ends before, OUTRIDER_NOT_FOUND, OUTRIDER_IO or OUTRIDER_MEMORY
 */
export async function readFloats(
  file: string,
  format: "f32" | "f16" | "bf16",
  { offset, byteLength }: { offset: number; byteLength: number },
): Promise<Float32Array> {
  const raw = await withFile(file, (handle) => readExactly(handle, file, offset, byteLength));
  const bytes = Uint8Array.from(raw).buffer; // small buffers share a pool and start anywhere
  if (format === "f32") return new Float32Array(bytes);
  return Float32Array.from(new Uint16Array(bytes), format === "f16" ? fromF16 : fromBf16);
}
