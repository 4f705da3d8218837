// quantization_config of config.json: how each matrix is stored.

import type { Source } from "./model.ts";
import type { ResolvedQuantize } from "./options.ts";
import type { MatrixShape } from "./plan.ts";
import { embeddingGroup, tableModules } from "./tables.ts";
import { moduleOf, parts } from "./tensors.ts";

interface Stored {
  bits: number;
  group_size: number;
}

const stored = ({ bits, group }: Pick<MatrixShape, "bits" | "group">): Stored => ({
  bits,
  group_size: group,
});

/** Bits and group of most matrices, and under `modules` those of the others. */
export function quantizationConfig(
  source: Source,
  { method, embeddings }: ResolvedQuantize,
  plan: readonly (readonly MatrixShape[])[],
): Record<string, unknown> {
  const { fused } = source.config.family;
  const kinds = new Map<string, { stored: Stored; bytes: number }>();
  for (const shape of plan.flat()) {
    const own = stored(shape);
    const key = JSON.stringify(own);
    const bytes = (kinds.get(key)?.bytes ?? 0) + shape.rows * shape.cols;
    kinds.set(key, { stored: own, bytes });
  }
  const usual = [...kinds.values()].reduce((most, kind) => (kind.bytes > most.bytes ? kind : most)).stored;
  const modules: Record<string, Stored> = {};
  if (embeddings !== 16)
    for (const { module } of tableModules(source)) modules[module] = { bits: embeddings, group_size: embeddingGroup };
  for (const [layer, shapes] of plan.entries()) {
    for (const [i, part] of parts.entries()) {
      const own = stored(shapes[i]);
      if (JSON.stringify(own) === JSON.stringify(usual)) continue;
      modules[source.names.layer(layer)[moduleOf(part, fused).module]] = own;
    }
  }
  return {
    quant_method: "decoupleq",
    ...usual,
    solver: method,
    ...(Object.keys(modules).length === 0 ? {} : { modules }),
  };
}
