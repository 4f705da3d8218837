// What the addon is told of a model: its decoder, and where its weights lie.

/** Rotary embedding table shared by the layers that name it. Angles are `f32(position) * invFreq[i]`. */
export interface RopeSpec {
  /** `rotaryDim / 2` inverse frequencies, already scaled for linear, llama3 or yarn. */
  invFreq: Float32Array;
  /** Multiplier of cos and sin (yarn's attention factor). 1 for the other kinds. */
  magnitude: number;
  /** false: pairs are (i, i + rotaryDim / 2), "half-split"; true: pairs are (2i, 2i + 1). */
  interleaved: boolean;
}

/** What differs between layers of one model. */
export interface LayerSpec {
  /** Index into {@link DecoderSpec.ropes}; -1: no positional encoding in this layer (NoPE). */
  rope: number;
  /** Sliding window in tokens including the query itself; 0: full attention. */
  window: number;
}

/**
 * One decoder-only transformer as plain numbers: all that the native step needs to know about a family.
 * Which norms and biases exist follows from the weights that are present.
 */
export interface DecoderSpec {
  family: string;
  hidden: number;
  /** Width of the gated MLP. */
  ffn: number;
  vocab: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  contextLength: number;
  normEps: number;
  activation: "silu" | "gelu_tanh" | "gelu";
  /** "head": q_norm/k_norm weights are [headDim]; "full": [heads * headDim] and [kvHeads * headDim], before the split into heads. */
  qkNorm: "none" | "head" | "full";
  /** Multiplies the embedding rows. 1 for most families. */
  embeddingScale: number;
  /** Multiplies each branch before it is added to the residual stream. 1 for most families. */
  residualScale: number;
  /** Multiplies q . k before the soft cap. Usually 1 / sqrt(headDim). */
  attentionScale: number;
  /** cap * tanh(score / cap); 0: off. */
  attentionSoftCap: number;
  /** Multiplies the logits (granite: 1 / logits_scaling). */
  logitScale: number;
  /** cap * tanh(logit / cap), after logitScale; 0: off. */
  logitSoftCap: number;
  ropes: RopeSpec[];
  layers: LayerSpec[];
}

/** A run of bytes in `files[file]`. The addon checks it against the size of the mapped file. */
export interface Span {
  file: number;
  offset: number;
  byteLength: number;
}

export type DenseFormat = "f32" | "f16" | "bf16";
export type GgufBlockFormat = "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q8_0" | "q2_k" | "q3_k" | "q4_k" | "q5_k" | "q6_k";

/** A matrix `[rows, cols]` = `[outputs, inputs]`, or a run of rows of a fused one. */
export interface MatrixSource {
  format: DenseFormat | GgufBlockFormat | "affine";
  /** Rows taken. */
  rows: number;
  cols: number;
  /** First row taken of the stored matrix. @default 0 */
  rowStart?: number;
  /** Rows of the stored matrix. @default rows */
  storedRows?: number;
  /**
   * Head count whose rows were interleaved for GGUF's RoPE (row (h, 2 i + j) holds row (h, i + j * D / 2)); undone while packing.
   * @default 0, not permuted
   */
  permutedHeads?: number;
  /** Dense values, GGUF blocks, or affine codes: row-major, ceil(cols * bits / 8) bytes a row, lowest bits first. */
  data: Span;
  /** affine only: 2, 4 or 8. */
  bits?: number;
  /** affine only: inputs per group; the last group of a row may be short. `cols` or more: one group a row. */
  group?: number;
  /** affine only: `[storedRows, ceil(cols / group)]` each; w = scale * code + zero. */
  scale?: Span;
  zero?: Span;
  /** affine only. */
  scaleFormat?: "f16" | "f32";
}

/** A vector of `length` values, kept as f32. */
export interface VectorSource {
  format: DenseFormat;
  length: number;
  /** First element taken of the stored vector (a run of a fused bias). @default 0 */
  start?: number;
  /** Elements of the stored vector. @default length */
  storedLength?: number;
  /** As in {@link MatrixSource.permutedHeads}, for biases. @default 0 */
  permutedHeads?: number;
  /** Added to each element (gemma stores norm weights minus one). @default 0 */
  add?: number;
  data: Span;
}

/** Weights of one layer. Absent members are not computed. */
export interface LayerWeights {
  q: MatrixSource;
  k: MatrixSource;
  v: MatrixSource;
  o: MatrixSource;
  gate: MatrixSource;
  up: MatrixSource;
  down: MatrixSource;
  qBias?: VectorSource;
  kBias?: VectorSource;
  vBias?: VectorSource;
  oBias?: VectorSource;
  gateBias?: VectorSource;
  upBias?: VectorSource;
  downBias?: VectorSource;
  /** RMSNorm before attention / after attention and before the residual add / before the MLP / after the MLP. */
  attentionNorm?: VectorSource;
  attentionPostNorm?: VectorSource;
  mlpNorm?: VectorSource;
  mlpPostNorm?: VectorSource;
  qNorm?: VectorSource;
  kNorm?: VectorSource;
}

export interface ModelWeights {
  embedding: MatrixSource;
  /** Absent: tied to the embedding. */
  head?: MatrixSource;
  finalNorm: VectorSource;
  layers: LayerWeights[];
}
