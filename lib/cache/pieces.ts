// Long copies without holding up the event loop.

import { setImmediate } from "node:timers/promises";
import { badArgument } from "../errors.ts";

/** Bytes copied at a stretch: well below a millisecond. */
const pieceBytes = 1 << 20;

/**
 * Hands the bytes out piece by piece, in order, with a turn of the event loop between two pieces.
 * @throws {OutriderError} OUTRIDER_ARGUMENT if the caller resizes or detaches them meanwhile.
 */
export async function inPieces(
  name: string,
  bytes: Uint8Array,
  use: (piece: Uint8Array, offset: number) => void,
): Promise<void> {
  const { buffer, byteOffset, byteLength } = bytes;
  for (let offset = 0; offset < byteLength; offset += pieceBytes) {
    if (offset > 0) await setImmediate();
    if (bytes.byteLength !== byteLength)
      throw badArgument(name, `${byteLength} bytes until the call ends`, bytes.length);
    use(new Uint8Array(buffer, byteOffset + offset, Math.min(pieceBytes, byteLength - offset)), offset);
  }
}
