// What a model file says about itself, without loading the weights.

import { badArgument } from "../errors.ts";
import { readGguf } from "../load/gguf.ts";
import { readSafetensors } from "../load/safetensors.ts";
import { openSource } from "../load/source.ts";
import { affineConfig } from "../model/affine-config.ts";
import type { TensorTable } from "../tensor/entry.ts";

/** Result of {@link inspect}. */
export interface Inspection {
  path: string;
  kind: "folder" | "gguf" | "safetensors";
  /** Metadata of the file or config.json of the folder; long arrays are given by their length. */
  metadata: Record<string, unknown>;
  tensors: { name: string; format: string; shape: number[]; bytes: number }[];
  bytesByFormat: Record<string, number>;
  /** How the matrices of a quantised folder are stored: codes, and an f16 scale and zero for each row and group of inputs. */
  quantization?: { method: string; shapes: { bits: number; group: number; matrices: number; bytes: number }[] };
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

function describeQuantization(
  config: Record<string, unknown>,
  tensors: TensorTable,
): Pick<Inspection, "quantization"> | undefined {
  const affine = affineConfig(config);
  if (!affine) return undefined;
  const shapes = new Map<string, { bits: number; group: number; matrices: number; bytes: number }>();
  for (const name of tensors.keys()) {
    if (!name.endsWith(".codes")) continue;
    const module = name.slice(0, -".codes".length);
    const { bits, group } = affine.of(module);
    const key = `${bits} ${group}`;
    const before = shapes.get(key) ?? { bits, group, matrices: 0, bytes: 0 };
    const bytes = ["codes", "scale", "zero"].reduce(
      (sum, part) => sum + (tensors.get(`${module}.${part}`)?.byteLength ?? 0),
      before.bytes,
    );
    shapes.set(key, { ...before, matrices: before.matrices + 1, bytes });
  }
  const { quant_method: method } = config.quantization_config as { quant_method: string };
  const sorted = [...shapes.values()].sort((a, b) => a.bits - b.bits || b.group - a.group);
  return { quantization: { method, shapes: sorted } };
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
  const quantization = files.config && describeQuantization(files.config, files.tensors);
  return { path: files.path, kind: files.kind, metadata, ...describeTensors(files.tensors), ...quantization };
}
