import { badArgument, checkThreads, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import { Tensor } from "../tensor/tensor.ts";
import { KvPages } from "./kv-pages.ts";
import { asInt32, finiteOr, nativeOps, type OpOptions, opInput } from "./native-ops.ts";

/** Inputs of {@link attention}. Dims: N rows, H query heads, G kv heads, D head size. */
export interface AttentionInput extends OpOptions {
  /** Queries, `[N, H, D]`. */
  q: Tensor<"f32", 3>;
  /** Committed tokens: position p is token p. */
  kv: KvPages;
  /**
   * Absolute position of each row, `[N]`; it sees positions up to its own. With a tree it is not given: a row's position is
   * `kv.length` plus its depth.
   */
  positions?: Tensor<"i32", 1>;
  /** Token tree: key and value of row n are token n of `kv`; `parents[n]` is an earlier row or -1 for a child of the last committed token. */
  tree?: { kv: KvPages; parents: Tensor<"i32", 1> };
  /** Tokens a row looks back, itself included; 0: all. @default 0 */
  window?: number;
  /** Multiplies the scores. @default 1 / sqrt(D) */
  scale?: number;
  /** `cap * tanh(score / cap)`; 0: off. @default 0 */
  softCap?: number;
  /** Threads, 1 to 256, over KV heads; the result has the same bits. Waits for its turn while a model uses them. @default 1 */
  threads?: number;
}

/** Positions of tree rows; checks that each parent is an earlier row. */
function treePositions(parents: Int32Array, prefix: number): Int32Array {
  const positions = new Int32Array(parents.length);
  parents.forEach((parent, n) => {
    if (parent < -1 || parent >= n) throw badArgument(`tree.parents[${n}]`, `-1 or a row below ${n}`, parent);
    positions[n] = parent < 0 ? prefix : positions[parent] + 1;
  });
  return positions;
}

/**
 * Grouped-query attention over paged keys and values: decode, chunked prefill (rows at their positions) and token trees. A row's
 * bits depend on its query and on what it sees, not on other rows or on which of its ancestors are committed.
 *
 * @returns f32 `[N, H, D]`.
 * @throws {OutriderError} OUTRIDER_SHAPE for tensors that do not fit together, OUTRIDER_ARGUMENT for positions and parents.
 */
export function attention(input: AttentionInput): Tensor<"f32", 3> {
  const { q, kv, positions, tree, window = 0, scale, softCap, threads = 1, level } = opInput(input, "q");
  if (tree !== undefined && (typeof tree !== "object" || tree === null || !(tree.kv instanceof KvPages)))
    throw badArgument("tree", "an object of kv and parents", tree);
  const { N, H, D } = bindDims<"N" | "H" | "D">({
    q: [q, "f32[N, H, D]"],
    positions: [positions, "i32[N]"],
    "tree.parents": [tree && (tree.parents ?? null), "i32[N]"],
  });
  if (!(kv instanceof KvPages)) throw expected("OUTRIDER_ARGUMENT", "kv", "KvPages", kv);
  if (kv.headDim !== D) throw expected("OUTRIDER_SHAPE", "kv", `heads of size ${D}`, kv.headDim);
  if (H % kv.heads !== 0) throw expected("OUTRIDER_SHAPE", "q", `a head count divisible by ${kv.heads} kv heads`, H);
  if (!Number.isSafeInteger(window) || window < 0) throw badArgument("window", "a non-negative integer", window);
  if ((positions === undefined) === (tree === undefined))
    throw badArgument("positions", "positions or a tree, and not both", positions);
  if (tree && (tree.kv.heads !== kv.heads || tree.kv.headDim !== D || tree.kv.type !== kv.type || tree.kv.length < N)) {
    throw expected("OUTRIDER_SHAPE", "tree.kv", `${N} tokens in the shape and type of kv`, tree.kv.length);
  }
  checkThreads(threads);
  const parents = tree && asInt32(tree.parents);
  const at = parents ? treePositions(parents, kv.length) : asInt32(positions as Tensor<"i32", 1>);
  const outside = tree ? -1 : at.findIndex((position) => position < 0 || position >= kv.length);
  if (outside >= 0) throw badArgument(`positions[${outside}]`, `a position below ${kv.length}`, at[outside]);
  const out = Tensor.zeros("f32", [N, H, D] as const);
  if (N === 0) return out;
  nativeOps.attention(
    {
      q: q.isContiguous ? q.data : q.toFloat32(),
      out: out.data,
      N,
      H,
      G: kv.heads,
      D,
      pages: kv.data,
      scratch: tree?.kv.data,
      kvType: kv.type,
      positions: at,
      prefix: kv.length,
      parents,
      window,
      scale: finiteOr(scale, 1 / Math.sqrt(D), "scale"),
      softCap: finiteOr(softCap, 0, "softCap", (value) => value >= 0, "a number from 0 on"),
      threads,
    },
    level,
  );
  return out;
}
