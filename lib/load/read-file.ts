// Small reads of big files: headers and JSON, never tensor bytes.

import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { OutriderError } from "../errors.ts";

const maxJsonBytes = 256 * 1024 * 1024;

/** Maps an operating system error to an OutriderError that names the file. */
export function fileError(file: string, error: unknown): OutriderError {
  if (error instanceof OutriderError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT")
    return new OutriderError("OUTRIDER_NOT_FOUND", `Expected a file at ${file}, found none`, { cause: error });
  return new OutriderError("OUTRIDER_IO", `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
}

/** Opens a regular file, runs `use` with its handle and size, closes it whatever happens. */
export async function withFile<T>(file: string, use: (handle: FileHandle, size: number) => Promise<T>): Promise<T> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch (error) {
    throw fileError(file, error);
  }
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new OutriderError("OUTRIDER_IO", `Expected a regular file at ${file}`);
    return await use(handle, info.size);
  } catch (error) {
    throw fileError(file, error);
  } finally {
    await handle.close();
  }
}

/** Reads exactly `length` bytes at `offset`; a short file is an OUTRIDER_FORMAT error. */
export async function readExactly(handle: FileHandle, file: string, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0)
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected ${length} bytes at ${offset} of ${file}, the file ends before`,
      );
    filled += bytesRead;
  }
  return bytes;
}

/** Parses a JSON file that must hold an object. `undefined` if it does not exist. */
export async function readJsonObject(file: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    const info = await stat(file);
    if (info.size > maxJsonBytes)
      throw new OutriderError("OUTRIDER_FORMAT", `Expected at most ${maxJsonBytes} bytes of JSON in ${file}`);
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw fileError(file, error);
  }
  return parseJsonObject(text, file);
}

/** Parses JSON text that must hold an object. */
export function parseJsonObject(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected JSON in ${where}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected a JSON object in ${where}`);
  }
  return value as Record<string, unknown>;
}
