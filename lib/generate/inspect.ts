// What a model file says about itself, without loading the weights.

import { badArgument } from "../errors.ts";
import { readGguf } from "../load/gguf.ts";
import { readSafetensors } from "../load/safetensors.ts";
import { openSource } from "../load/source.ts";
import type { TensorTable } from "../tensor/entry.ts";

/** Result of {@link inspect}. */
export interface Inspection {
  path: string;
  kind: "folder" | "gguf" | "safetensors";
  /** Metadata of the file or config.json of the folder; long arrays are given by their length. */
  metadata: Record<string, unknown>;
  tensors: { name: string; format: string; shape: number[]; bytes: number }[];
  bytesByFormat: Record<string, number>;
}

function short(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    const { length } = value as unknown as ArrayLike<unknown>;
    if (length > 16) return `${length} entries`;
    return Array.from(value as unknown as ArrayLike<unknown>, short);
  }
  return value;
}

function describeTensors(tensors: TensorTable): Pick<Inspection, "tensors" | "bytesByFormat"> {
  const bytesByFormat: Record<string, number> = {};
  const list = [...tensors.values()].map(({ name, format, shape, byteLength }) => {
    bytesByFormat[format] = (bytesByFormat[format] ?? 0) + byteLength;
    return { name, format, shape: [...shape], bytes: byteLength };
  });
  return { tensors: list, bytesByFormat };
}

/**
 * Reads the header of a .gguf or .safetensors file, of a model folder or of a hub model.
 * @throws {OutriderError} OUTRIDER_ARGUMENT, and as the readers do: OUTRIDER_FORMAT, OUTRIDER_UNSUPPORTED, OUTRIDER_NOT_FOUND, OUTRIDER_IO.
 */
export async function inspect(source?: string): Promise<Inspection> {
  if (source !== undefined && (typeof source !== "string" || source === ""))
    throw badArgument("source", "a path or hub id", source);
  if (source?.endsWith(".safetensors")) {
    const { tensors, metadata } = await readSafetensors(source);
    return { path: source, kind: "safetensors", metadata, ...describeTensors(tensors) };
  }
  if (source?.endsWith(".gguf")) {
    const { tensors, metadata } = await readGguf(source);
    return {
      path: source,
      kind: "gguf",
      metadata: Object.fromEntries([...metadata].map(([key, value]) => [key, short(value)])),
      ...describeTensors(tensors),
    };
  }
  const files = await openSource(source);
  const metadata =
    files.config ?? Object.fromEntries([...(files.metadata ?? [])].map(([key, value]) => [key, short(value)]));
  return { path: files.path, kind: files.kind, metadata, ...describeTensors(files.tensors) };
}
