// What the user named, as files: the default model, a folder, a .gguf file or a hub id.

import { stat } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { OutriderError } from "../errors.ts";
import type { TensorTable } from "../tensor/entry.ts";
import { type GgufValue, readGguf } from "./gguf.ts";
import { readJsonObject } from "./read-file.ts";
import { readSafetensorsFolder } from "./safetensors.ts";

const require = createRequire(import.meta.url);

/** Options of {@link openSource}. */
export interface SourceOptions {
  signal?: AbortSignal;
  /** Called while files are downloaded from the hub; bytes. */
  onProgress?: (progress: { file: string; loaded: number; total: number }) => void;
  /** Branch, tag or commit of a hub id. @default "main" */
  revision?: string;
}

/** The files of a model with their headers read. */
export interface ModelFiles {
  kind: "folder" | "gguf";
  /** The folder, or the .gguf file. */
  path: string;
  tensors: TensorTable;
  /** config.json of a folder. */
  config?: Record<string, unknown>;
  /** generation_config.json of a folder, if it has one. */
  generationConfig?: Record<string, unknown>;
  /** Metadata of a GGUF file. */
  metadata?: ReadonlyMap<string, GgufValue>;
}

/** Folder of the model that `load()` opens when no other is named. */
export function defaultModelFolder(): string {
  try {
    return path.dirname(require.resolve("outrider-default-model/package.json"));
  } catch (error) {
    throw new OutriderError(
      "OUTRIDER_NOT_FOUND",
      "Expected the package outrider-default-model beside outrider; name a model or run npm install",
      {
        cause: error,
      },
    );
  }
}

async function openPath(location: string): Promise<ModelFiles> {
  const info = await stat(location);
  if (info.isDirectory()) {
    const config = await readJsonObject(path.join(location, "config.json"));
    if (!config)
      throw new OutriderError(
        "OUTRIDER_NOT_FOUND",
        `Expected a model folder with config.json, found none in ${location}`,
      );
    const generationConfig = await readJsonObject(path.join(location, "generation_config.json"));
    return { kind: "folder", path: location, config, generationConfig, tensors: await readSafetensorsFolder(location) };
  }
  const { metadata, tensors } = await readGguf(location);
  return { kind: "gguf", path: location, metadata, tensors };
}

/**
 * Finds a model and reads the headers of its files.
 * @param source nothing: the default model; an existing folder or file; otherwise a hub id `owner/name` or `owner/name:file.gguf`.
 * @throws {OutriderError} OUTRIDER_NOT_FOUND if it is none of these, and whatever the readers throw.
 */
export async function openSource(source?: string, options: SourceOptions = {}): Promise<ModelFiles> {
  const location = source === undefined ? defaultModelFolder() : path.resolve(source);
  const exists = await stat(location).then(
    () => true,
    () => false,
  );
  if (exists) return openPath(location);
  if (
    source === undefined ||
    !/^[\w.-]+\/[\w.-]+(:[\w.-]+)?$/.test(source) ||
    (source.endsWith(".gguf") && !source.includes(":"))
  ) {
    throw new OutriderError(
      "OUTRIDER_NOT_FOUND",
      `Expected a folder, a .gguf file or a hub id "owner/name", found nothing at ${JSON.stringify(source)}`,
    );
  }
  const { resolveHub } = await import("./hub.ts");
  return openPath(await resolveHub(source, options));
}
