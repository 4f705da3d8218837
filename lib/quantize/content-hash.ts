// What files hold, as one number: the same wherever and whenever they were put there.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import path from "node:path";

/**
 * SHA-256 of the names and contents of files, in the order of their paths.
 * @param first goes into it before the files
 * @returns 64 hex digits
 * @throws the error of reading, or the signal's reason.
 */
export async function contentHash(files: Iterable<string>, signal?: AbortSignal, first = ""): Promise<string> {
  const hash = createHash("sha256").update(first);
  for (const file of [...files].sort()) {
    hash.update(`\0${path.basename(file)}\0`);
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20, signal })) hash.update(chunk);
  }
  return hash.digest("hex");
}
