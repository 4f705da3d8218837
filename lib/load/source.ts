// What the user named, as files: the default model, a folder, a .gguf file or a hub id.

import { readdir, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { OutriderError } from "../errors.ts";
import type { TensorTable } from "../tensor/entry.ts";
import { type GgufValue, readGguf } from "./gguf.ts";
import { fileError, readJsonObject } from "./read-file.ts";
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
    return path.dirname(require.resolve("outrider-smollm2-135m-instruct/package.json"));
  } catch (error) {
    throw new OutriderError(
      "OUTRIDER_NOT_FOUND",
      "Expected the package outrider-smollm2-135m-instruct beside outrider; name a model or run npm install",
      {
        cause: error,
      },
    );
  }
}

async function openGguf(file: string): Promise<ModelFiles> {
  const { metadata, tensors } = await readGguf(file);
  return { kind: "gguf", path: file, metadata, tensors };
}

/**
 * The one GGUF file of a folder without safetensors. Its own metadata is enough: a config.json or a tokenizer beside it, left from
 * the model it was made of, is not read.
 */
async function onlyGguf(folder: string): Promise<string | undefined> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw fileError(folder, error);
  });
  if (names.some((name) => name.endsWith(".safetensors") || name.endsWith(".safetensors.index.json"))) return undefined;
  const gguf = names.filter((name) => name.endsWith(".gguf")).sort();
  if (gguf.length > 1) {
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      `Expected the name of one of the GGUF files in ${folder}, received the folder of ${gguf.slice(0, 20).join(", ")}`,
    );
  }
  return gguf.length === 1 ? path.join(folder, gguf[0]) : undefined;
}

async function openPath(location: string): Promise<ModelFiles> {
  const info = await stat(location);
  if (info.isDirectory()) {
    const gguf = await onlyGguf(location);
    if (gguf) return openGguf(gguf);
    const config = await readJsonObject(path.join(location, "config.json"));
    if (!config)
      throw new OutriderError(
        "OUTRIDER_NOT_FOUND",
        `Expected a folder with config.json and safetensors or with one GGUF file, found neither in ${location}`,
      );
    const generationConfig = await readJsonObject(path.join(location, "generation_config.json"));
    return { kind: "folder", path: location, config, generationConfig, tensors: await readSafetensorsFolder(location) };
  }
  if (location.endsWith(".safetensors")) {
    const folder = path.dirname(location);
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      `Expected the folder of a safetensors model, ${folder}, for source, received its file ${path.basename(location)}`,
    );
  }
  return openGguf(location);
}

/**
 * Finds a model and reads the headers of its files.
 * @param source nothing: the default model; an existing folder, with safetensors or one GGUF file, or a .gguf file; otherwise a hub id `owner/name` or `owner/name:file.gguf`.
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
