// Quantised blocks as the tensors of a Hugging Face folder.

import type { LayerModule } from "../model/weights.ts";
import type { QuantizedMatrix, VectorSource } from "../native.ts";
import type { Source } from "./model.ts";
import type { StoredTensor } from "./safetensors-writer.ts";
import { storedVector } from "./stored-vector.ts";

/** The parts of a block, in the order of the native quantiser. */
export const parts = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type Part = (typeof parts)[number];

/** The module that holds each part, and which parts it holds: families may store q, k, v and gate, up as one. */
export function moduleOf(part: Part, fused: boolean): { module: LayerModule; parts: readonly Part[] } {
  if (fused && (part === "q" || part === "k" || part === "v")) return { module: "qkv", parts: ["q", "k", "v"] };
  if (fused && (part === "gate" || part === "up")) return { module: "gateUp", parts: ["gate", "up"] };
  return { module: part, parts: [part] };
}

/** The modules of a block. */
export function modulesOf(fused: boolean): ReturnType<typeof moduleOf>[] {
  return [...new Map(parts.map((part) => [moduleOf(part, fused).module, moduleOf(part, fused)])).values()];
}

/** What files hold of a matrix. */
export type StoredMatrix = Pick<QuantizedMatrix, "rows" | "codes" | "scale" | "zero">;

/** Codes, scales and zeros of matrices that are one below the other. */
export function matrixTensors(module: string, matrices: readonly StoredMatrix[]): StoredTensor[] {
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const whole = <T extends Uint8Array | Uint16Array>(name: string, dtype: "U8" | "F16", of: (m: StoredMatrix) => T) => {
    const pieces = matrices.map(of);
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const data = dtype === "U8" ? new Uint8Array(length) : new Uint16Array(length);
    let at = 0;
    for (const piece of pieces) {
      data.set(piece, at);
      at += piece.length;
    }
    return { name: `${module}.${name}`, dtype, shape: [rows, length / rows], data };
  };
  return [
    whole("codes", "U8", (matrix) => matrix.codes),
    whole("scale", "F16", (matrix) => matrix.scale),
    whole("zero", "F16", (matrix) => matrix.zero),
  ];
}

/** A norm or bias in f32. */
export async function vectorTensor(
  name: string,
  source: VectorSource,
  files: readonly string[],
  add = 0,
): Promise<StoredTensor> {
  const data = await storedVector(source, files);
  return { name, dtype: "F32", shape: [data.length], data: add === 0 ? data : data.map((value) => value + add) };
}

/** Norms that block-wise minimisation changes, in the order of BlockPlan.norms. */
const trainedNorms = ["attentionNorm", "mlpNorm", "qNorm", "kNorm"] as const;

/** All tensors of one block; `trained` norms take the place of the model's. */
export async function blockTensors(
  { config, weights, names: allNames, normAdd }: Source,
  l: number,
  matrices: readonly StoredMatrix[],
  trained?: readonly Float32Array[],
): Promise<StoredTensor[]> {
  const { files } = weights;
  const { fused } = config.family;
  const [layer, names] = [weights.weights.layers[l], allNames.layer(l)];
  const of = (part: Part) => matrices[parts.indexOf(part)];
  const modules = modulesOf(fused);
  const tensors = modules.flatMap((entry) => matrixTensors(names[entry.module], entry.parts.map(of)));
  for (const { module, parts: held } of modules) {
    const sources = held.map((part) => layer[`${part}Bias`]).filter((source) => source !== undefined);
    if (sources.length === 0) continue;
    const pieces = await Promise.all(sources.map((source) => storedVector(source, files)));
    const data = Float32Array.from(pieces.flatMap((piece) => Array.from(piece)));
    tensors.push({ name: `${names[module]}.bias`, dtype: "F32", shape: [data.length], data });
  }
  for (const norm of ["attentionNorm", "attentionPostNorm", "mlpNorm", "mlpPostNorm", "qNorm", "kNorm"] as const) {
    const source = layer[norm];
    const data = trained?.[trainedNorms.indexOf(norm as (typeof trainedNorms)[number])];
    const name = `${names[norm]}.weight`;
    if (data && data.length > 0) tensors.push({ name, dtype: "F32", shape: [data.length], data });
    else if (source) tensors.push(await vectorTensor(name, source, files, normAdd));
  }
  return tensors;
}
