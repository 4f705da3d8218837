import { badArgument } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { Tensor } from "../tensor/tensor.ts";
import { asInt32, finiteOr, nativeOps, type OpOptions, opInput } from "./native-ops.ts";
import { type PackedWeights, packWeights, type WeightTensor } from "./packed-weights.ts";

/** Inputs of {@link embedding}. Dims: N tokens, V rows of the table, K channels. */
export interface EmbeddingInput extends OpOptions {
  /** The table, `[V, K]`, in any weight format. */
  table: WeightTensor | PackedWeights;
  /** Row of each token, `[N]`. */
  tokens: Tensor<"i32", 1>;
  /** Multiplies every value. @default 1 */
  scale?: number;
}

/**
 * Rows of a table: `out[n,:] = scale * table[tokens[n],:]`.
 *
 * @returns f32 `[N, K]`.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a token outside the table.
 * @example const rows = embedding({ table: f32([1, 2, 3, 4], [2, 2]), tokens: i32([1], [1]) });
 */
export function embedding(input: EmbeddingInput): Tensor<"f32", 2> {
  const { table, tokens, scale, level } = opInput(input, "table", "tokens");
  const packed = packWeights(table);
  const { N } = bindDims<"N">({ tokens: [tokens, "i32[N]"] });
  const ids = asInt32(tokens);
  const wrong = ids.findIndex((token) => token < 0 || token >= packed.rows);
  if (wrong >= 0) throw badArgument(`tokens[${wrong}]`, `a row below ${packed.rows}`, ids[wrong]);
  const out = Tensor.zeros("f32", [N, packed.cols] as const);
  nativeOps.embedding(packed.handle, ids, N, finiteOr(scale, 1, "scale"), out.data, level);
  return out;
}
