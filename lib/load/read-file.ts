// Small reads of big files: headers and JSON, never tensor bytes.

import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { describe, expected, OutriderError } from "../errors.ts";

const maxJsonBytes = 256 * 1024 * 1024;
const maxDepth = 64;
const maxNameLength = 4096;

/**
 * Names the file that an error is about: OUTRIDER_IO or OUTRIDER_NOT_FOUND for what the operating system says. What is no
 * {@link OutriderError} either is a bug of the reader, and called so.
 */
export function fileError(file: string, error: unknown): OutriderError {
  if (error instanceof OutriderError) return error;
  const { code, errno, message } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (code === "ENOENT")
    return new OutriderError("OUTRIDER_NOT_FOUND", `Expected a file at ${file}, found none`, { cause: error });
  if (errno !== undefined) return new OutriderError("OUTRIDER_IO", `Cannot read ${file}: ${message}`, { cause: error });
  if (code === "ERR_STRING_TOO_LONG")
    return new OutriderError("OUTRIDER_FORMAT", `Expected shorter strings in ${file}: ${message}`, { cause: error });
  return new OutriderError("OUTRIDER_INTERNAL", `Reading ${file} failed: ${message ?? error}`, { cause: error });
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
    if (!info.isFile())
      throw new OutriderError(
        "OUTRIDER_IO",
        `Expected a regular file at ${file}, received a ${info.isDirectory() ? "folder" : "device"}`,
      );
    return await use(handle, info.size);
  } catch (error) {
    throw fileError(file, error);
  } finally {
    await handle.close();
  }
}

function allocate(file: string, length: number): Buffer {
  try {
    return Buffer.allocUnsafe(length);
  } catch (error) {
    throw new OutriderError("OUTRIDER_MEMORY", `Cannot allocate ${length} bytes to read from ${file}`, {
      cause: error,
    });
  }
}

/** Reads exactly `length` bytes at `offset`; a short file is an OUTRIDER_FORMAT error, no memory OUTRIDER_MEMORY. */
export async function readExactly(handle: FileHandle, file: string, offset: number, length: number): Promise<Buffer> {
  const bytes = allocate(file, length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0)
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected ${length} bytes at ${offset} of ${file}, received ${filled}: the file ends before`,
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
      throw expected("OUTRIDER_FORMAT", file, `at most ${maxJsonBytes} bytes of JSON`, info.size);
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw fileError(file, error);
  }
  outline(text, file);
  return parse(text, file);
}

/**
 * Goes through JSON text once, before anything is built from it, to see how deep it is.
 * @returns the keys of the outermost object as they are written, quotes included, in order, repeated ones too. Of text that is no
 * JSON they mean nothing.
 */
function outline(text: string, where: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let key: string | undefined;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '"': {
        const begin = i++;
        while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
        if (depth === 1) key = text.slice(begin, i + 1);
        break;
      }
      case ":":
        if (depth === 1 && key !== undefined) keys.push(key);
        break;
      case "{":
      case "[":
        depth += 1;
        if (depth > maxDepth) {
          const what = `JSON nested at most ${maxDepth} deep`;
          throw new OutriderError("OUTRIDER_FORMAT", `Expected ${what} in ${where}, received more at character ${i}`);
        }
        break;
      case "}":
      case "]":
        depth -= 1;
    }
  }
  return keys;
}

function parse(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected JSON in ${where}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw expected("OUTRIDER_FORMAT", where, "a JSON object", value);
  }
  return value as Record<string, unknown>;
}

/** Parses JSON text that must hold an object whose keys are names: none too long and none twice, of which JSON.parse keeps the last. */
export function parseJsonNames(text: string, where: string): Record<string, unknown> {
  const keys = outline(text, where);
  const long = keys.find((key) => key.length > maxNameLength + 2);
  if (long !== undefined)
    throw expected("OUTRIDER_FORMAT", where, `names of at most ${maxNameLength} characters`, long.slice(1, -1));
  const value = parse(text, where);
  const names = new Set<string>();
  for (const key of keys) {
    const name = JSON.parse(key) as string;
    if (names.has(name))
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected each name once in ${where}, received ${describe(name)} twice`,
      );
    names.add(name);
  }
  return value;
}
