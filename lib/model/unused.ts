// Tensors that no part of the decoder reads. A file that has them computes something else than the decoder would.

import { OutriderError } from "../errors.ts";
import type { TensorTable } from "../tensor/entry.ts";

/** Tensors that other programs keep beside the weights and that say nothing new. */
const harmless = [
  /\.rotary_emb\.inv_freq$/, // follows from the config
  /\.(masked_bias|attn\.bias|attention\.bias)$/, // causal masks
  /\.attn_rot_embd\.weight$/,
  /^rope_freqs\.weight$/, // read with the config
  /\.(loss|trace)$/, // what a quantiser reports of its work
];

const parts = ["weight", "codes", "scale", "zero"];

/** The parts of gemma3 that see images. */
const vision = /^(model\.)?(vision_tower|multi_modal_projector)\./;

/**
 * @param used names that were read
 * @param ignored modules that stand in the file but are not asked for: the head of a model whose head is the embedding
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED naming tensors that are left over.
 */
export function refuseUnused(
  tensors: TensorTable,
  used: ReadonlySet<string>,
  family: string,
  ignored: readonly string[],
): void {
  const left = [...tensors.keys()].filter(
    (name) =>
      !used.has(name) &&
      !harmless.some((pattern) => pattern.test(name)) &&
      !(family.startsWith("gemma3") && vision.test(name)) &&
      !ignored.some((module) => parts.some((part) => name === `${module}.${part}`)),
  );
  if (left.length === 0) return;
  const more = left.length > 5 ? ` and ${left.length - 5} more` : "";
  throw new OutriderError(
    "OUTRIDER_UNSUPPORTED",
    `Expected only tensors that a ${family} model of this config has, received also ${left.slice(0, 5).join(", ")}${more}`,
  );
}
