// One blob of the hub's cache: under its name only when it is whole, however many calls, threads and processes fetch it at once.

import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { expected } from "../errors.ts";

/** A file of a hub repository, as the hub lists it. */
export interface BlobFile {
  /** Its name, for messages. */
  name: string;
  size: number;
  /** SHA-256 of its bytes, which the hub knows of large files. */
  sha256?: string;
  /** Opens the stream of its bytes. */
  open: () => Promise<{ stream(): unknown }>;
}

// The hub's own clients use OID.incomplete and go on with it later; those are theirs.
const leftover = /^[0-9a-f]{40,64}\.[0-9a-f]+\.incomplete$/;
// A download that lives writes at least every five minutes, when fetch gives up; then its file is read once.
const leftoverAge = 30 * 60_000;

/** Downloads of this thread that run, by blob. */
const running = new Map<string, Promise<void>>();

/** Removes what dead processes left in the folder. Process ids would not do: other machines and containers share caches. */
async function removeLeftovers(folder: string, now: number): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!leftover.test(name)) continue;
    const file = path.join(folder, name);
    const info = await stat(file).catch(() => undefined);
    // Those of another user stay.
    if (info && now - info.mtimeMs > leftoverAge) await rm(file, { force: true }).catch(() => {});
  }
}

/** Size and SHA-256 of what is in the file. */
async function written(handle: FileHandle, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 })) {
    signal?.throwIfAborted();
    hash.update(chunk);
    size += chunk.length;
  }
  return `${size} bytes with SHA-256 ${hash.digest("hex")}`;
}

async function download(
  blob: string,
  file: BlobFile,
  onBytes: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const folder = path.dirname(blob);
  await mkdir(folder, { recursive: true });
  const body = await file.open();
  // A name of its own for every call: threads of a process share its id, containers their ids with each other.
  const partial = `${blob}.${randomBytes(8).toString("hex")}.incomplete`;
  const handle = await open(partial, "wx+");
  try {
    await removeLeftovers(folder, (await handle.stat()).mtimeMs); // by the clock of the file system
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of Readable.fromWeb(body.stream() as never)) {
      signal?.throwIfAborted();
      hash.update(chunk);
      size += chunk.length;
      if (size > file.size) break;
      await handle.writeFile(chunk); // all of it, after what was written before
      onBytes(chunk.length);
    }
    const digest = hash.digest("hex");
    if (size !== file.size || (file.sha256 !== undefined && digest !== file.sha256))
      throw new Error(`${file.name} arrived damaged: ${size} of ${file.size} bytes`);
    await handle.sync();
    // What counts is what will be read, which need not be what was sent.
    const sent = `${size} bytes with SHA-256 ${digest}`;
    const found = await written(handle, signal);
    if (found !== sent) throw expected("OUTRIDER_IO", partial, sent, found);
    await rename(partial, blob);
  } finally {
    await handle.close();
    await rm(partial, { force: true });
  }
}

/** Waits until `other` has ended, well or not. @throws the signal's reason when aborted before. */
async function ended(other: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const stop = () => reject(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    const end = () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    };
    other.then(end, end);
  });
}

/**
 * Puts a file into the cache as `blob`, unless it is there. A second call for the same blob waits for the first and is told of all
 * bytes at once; if the first fails or is aborted, the second downloads.
 * @throws {OutriderError} OUTRIDER_IO if the file does not hold what was sent; whatever the network and the file system throw.
 */
export async function storeBlob(
  blob: string,
  file: BlobFile,
  onBytes: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (let other = running.get(blob); other; other = running.get(blob)) await ended(other, signal);
  if (existsSync(blob)) return onBytes(file.size);
  const own = download(blob, file, onBytes, signal).finally(() => running.delete(blob));
  running.set(blob, own);
  await own;
}
