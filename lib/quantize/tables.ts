// The embedding, an output head of its own and the last norm: what is not in a block.

import { settle } from "../model/runtime.ts";
import type { NativeQuantizer } from "../native.ts";
import type { Source } from "./model.ts";
import type { ResolvedQuantize } from "./options.ts";
import { matrixBytes } from "./plan.ts";
import type { Run } from "./run.ts";
import { type StoredTensor, writeSafetensors } from "./safetensors-writer.ts";
import { matrixTensors, vectorTensor } from "./tensors.ts";

/** Inputs that share a scale and a zero in embeddings and heads. */
export const embeddingGroup = 32;

/** The modules that are tables. */
export function tableModules({ weights, names }: Source): { which: "embedding" | "head"; module: string }[] {
  const embedding = { which: "embedding", module: names.embedding } as const;
  return weights.weights.head ? [embedding, { which: "head", module: names.head }] : [embedding];
}

/** Bytes that each of them takes. */
export function tableBytes({ config: { spec } }: Source, bits: ResolvedQuantize["embeddings"]): number {
  if (bits === 16) return spec.vocab * spec.hidden * 2;
  return matrixBytes({ rows: spec.vocab, cols: spec.hidden, bits, group: embeddingGroup });
}

export async function writeTables(
  quantizer: NativeQuantizer,
  source: Source,
  run: Run,
  { embeddings, signal }: ResolvedQuantize,
): Promise<void> {
  const { spec } = source.config;
  const tensors: StoredTensor[] = [];
  for (const { which, module } of tableModules(source)) {
    const matrix = await settle(quantizer.table(which, embeddings, embeddingGroup), signal, () => false);
    const shape = [spec.vocab, spec.hidden];
    if (matrix instanceof Uint16Array) tensors.push({ name: `${module}.weight`, dtype: "F16", shape, data: matrix });
    else tensors.push(...matrixTensors(module, [matrix]));
  }
  await writeSafetensors(run.piece("tables"), tensors);
}

/** The last norm, the model's or a trained one. */
export async function writeFinalNorm(source: Source, run: Run, trained: Float32Array | undefined): Promise<void> {
  const { names, weights, normAdd } = source;
  const name = `${names.finalNorm}.weight`;
  const own = await vectorTensor(name, weights.weights.finalNorm, weights.files, normAdd);
  const tensor: StoredTensor = trained ? { ...own, data: trained } : own;
  await writeSafetensors(run.piece("final"), [tensor]);
}
