import { badArgument, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { Tensor } from "../tensor/tensor.ts";
import { asFloat32, asInt32, finiteOr, nativeOps, type OpOptions, opInput } from "./native-ops.ts";
import { type PackedWeights, packWeights, type WeightTensor } from "./packed-weights.ts";

/** Inputs of {@link embedding}. Dims: N rows, J tokens mixed in each, V rows of the table, K channels. */
export interface EmbeddingInput extends OpOptions {
  /** The table, `[V, K]`, in any weight format. */
  table: WeightTensor | PackedWeights;
  /** Row of each token, `[N]`; with weights the tokens of each row, `[N, J]`. */
  tokens: Tensor<"i32", 1> | Tensor<"i32", 2>;
  /** What each token counts, `[N, J]`. Tokens of weight 0 are left out. @default none: rows as they are */
  weights?: Tensor<"f32", 2>;
  /** Multiplies every value. @default 1 */
  scale?: number;
}

/**
 * Rows of a table: `out[n,:] = scale * table[tokens[n],:]`. With weights, mixes of rows:
 * `out[n,:] = scale * sum over j of weights[n,j] * table[tokens[n,j],:]`, in f32 and in the order of j.
 *
 * @returns f32 `[N, K]`.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a token outside the table.
 * @example const rows = embedding({ table: f32([1, 2, 3, 4], [2, 2]), tokens: i32([1], [1]) });
 */
export function embedding(input: EmbeddingInput): Tensor<"f32", 2> {
  const { table, tokens, weights, scale, level } = opInput(input, "table", "tokens");
  const packed = packWeights(table);
  const { N, J } = bindDims<"N" | "J">({
    tokens: [tokens, weights ? "i32[N, J]" : "i32[N]"],
    weights: [weights, "f32[N, J]"],
  });
  if (weights && J < 1) throw expected("OUTRIDER_SHAPE", "weights", "one weight at least for each row", weights);
  if (!tokens.isContiguous) throw expected("OUTRIDER_SHAPE", "tokens", "a contiguous tensor", tokens);
  const ids = asInt32(tokens);
  const wrong = ids.findIndex((token) => token < 0 || token >= packed.rows);
  if (wrong >= 0) throw badArgument(`tokens[${wrong}]`, `a row below ${packed.rows}`, ids[wrong]);
  const out = Tensor.zeros("f32", [N, packed.cols] as const);
  nativeOps.embedding(
    packed.handle,
    ids,
    N,
    finiteOr(scale, 1, "scale"),
    out.data,
    level,
    weights && asFloat32(weights),
    J,
  );
  return out;
}
