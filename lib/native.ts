// The addon: its whole surface as one interface, and nothing of its meaning. Finding and loading it is lib/load-addon.ts.

import { OutriderError } from "./errors.ts";
import { loadAddon } from "./load-addon.ts";

// ---------------------------------------------------------------- what a decoder is

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

// ---------------------------------------------------------------- where its weights lie

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

// ---------------------------------------------------------------- engine objects

/** Work on an engine thread. `promise` gives null if the work was aborted. */
export interface NativeJob<T> {
  promise: Promise<T | null>;
  abort(): void;
}

/** What a row of a batch is evaluated for; add to combine. The order of bits is that of native/model/batch.h. */
export const want = { logits: 1, topk: 2, target: 4, sample: 8, hidden: 16, best: 32, draws: 64 } as const;

/** Key and value formats of the KV cache. */
export type KvFormat = "f16" | "bf16" | "f32";

/** The engine batch (native/model/batch.h). Arrays have one entry per row unless said otherwise. */
export interface NativeBatch {
  sequences: NativeSequence[];
  /** One per sequence. */
  samplers?: (NativeSampler | undefined)[];
  tokens?: Int32Array;
  /** `[rows, hidden]`, in place of tokens. */
  embeddings?: Float32Array;
  /** `[rows, J]`, in place of tokens: ids whose embeddings are added with `mixWeights`, J up to 64. */
  mix?: Int32Array;
  /** `[rows, J]`, finite. A weight of 0 leaves an id out; one id of weight 1 is that token to the bit. */
  mixWeights?: Float32Array;
  /** Index into `sequences`. */
  sequence: Int32Array;
  /** Trees: an earlier row of the same sequence, or -1 for a child of the last committed token; slots in a batch that continues. */
  parents?: Int32Array;
  wants: Uint8Array;
  /** Token whose log-probability `want.target` asks for. */
  targets?: Int32Array;
  /** true: rows are tree nodes kept aside until `commit`; false: rows are appended to their sequences. */
  scratch?: boolean;
  /**
   * Scratch rows that go on from those of the last scratch call: `parents` are then slots, the number of a row among all rows of its sequence since the call that did
   * not continue, and so are the rows that `commit` takes. At most 1024 rows in all. Whatever else changes the sequence, a call that fails among it, forgets them, and so does a scratch
   * call that does not continue. @default false
   */
  continues?: boolean;
  /**
   * Trees whose rows all want a token, those of a sequence together and the root first: draw from the root on, go to the child that has the
   * token drawn, append the rows of that walk to the sequence. Other rows give nothing but their best. `ends` end a walk. Where no child has the
   * token drawn, a sampler's rule may have another one accepted, unless one of `ends` was drawn.
   */
  verify?: boolean;
  /**
   * Draw up to so many tokens one after the other, each appended before the next, until one of `ends` or the end of the context; for one
   * sequence whose last row alone wants a token. Results are in order. @default 1
   */
  repeat?: number;
  ends?: Int32Array;
  /**
   * A batch that repeats also ends when the probabilities of its tokens, multiplied, fall below this, under the raw logits; with `want.topk` alone.
   * @default 0: never
   */
  leastConfidence?: number;
  /**
   * Says for every token that is drawn how likely it is accepted, of the model's hidden size; one sequence whose last row alone wants a token. A batch that
   * repeats also ends when 1 - the product of what it says is above `stopAt`, the token drawn last included.
   */
  stop?: NativeStoppingHead;
  /** @default 1: never */
  stopAt?: number;
  topK?: number;
  /** How many ids `want.best` asks for. */
  bestK?: number;
  /** How many draws `want.draws` asks for, 1 to 64. */
  drawsK?: number;
  layerBegin?: number;
  layerEnd?: number;
  /** One flag per layer. */
  skipAttention?: Uint8Array;
  skipMlp?: Uint8Array;
  /** Round activations: to int8 for affine weights, to bf16 for bf16 ones. */
  rounded: boolean;
  threads: number;
  /** Run on the engine beside that of other batches, on threads of its own: neither waits for the other. @default false */
  beside?: boolean;
  /** @default the level of the process */
  level?: Level;
}

/** Results, each in the order of the rows that wanted it. */
export interface NativeBatchResult {
  /** Time the engine worked on this batch. */
  seconds: number;
  /** Of that, in layers and head. */
  kernelSeconds: number;
  scratchBytes: number;
  sampled: Int32Array;
  /** Under the raw logits; NaN for rows that did not also want topk. */
  sampledLogprob?: Float32Array;
  /** What the stopping head of the batch says of each token drawn. */
  acceptance?: Float32Array;
  topkIds?: Int32Array;
  topkValues?: Float32Array;
  logsumexp?: Float32Array;
  /** `[rows wanting best, bestK]`: ids of the largest logits, falling. */
  bestIds?: Int32Array;
  /**
   * `[rows wanting draws, drawsK]`: the tokens that the sampler draws first without replacement, in order, with log-probabilities under the law it draws from, and those with its noise
   * added. The first is what `want.sample` gives; -1 and -Infinity where fewer tokens can be drawn. A greedy sampler has the order of its logits and their law at temperature 1.
   */
  drawIds?: Int32Array;
  drawLogq?: Float64Array;
  drawValues?: Float64Array;
  /** Rows of the walks of a batch that verifies, those of a sequence one after the other, and how many each sequence has. */
  walk?: Int32Array;
  walked?: Int32Array;
  /** For each token of a walk: 1 if it was accepted by the sampler's rule and not drawn; absent where no sampler has a rule. */
  byRule?: Uint8Array;
  targetLogprob?: Float32Array;
  /** `[rows wanting hidden, hidden]`: the residual stream before the final norm. */
  hidden?: Float32Array;
  /** `[rows wanting logits, vocab]` */
  logits?: Float32Array;
}

/** The KV cache of one sequence. */
export interface NativeSequence {
  length(): number;
  bytes(): number;
  busy(): boolean;
  truncate(length: number): void;
  fork(): NativeSequence;
  /** The history of `sampler` grows by the tokens of the rows. */
  commit(rows: Int32Array, sampler?: NativeSampler): void;
  save(fingerprint: bigint): NativeJob<Uint8Array>;
  /** Takes the bytes out of the handle, which is empty then. */
  restore(fingerprint: bigint, bytes: SnapshotBytes, maxTokens: number): NativeJob<true>;
  dispose(): void;
}

/** Snapshot bytes in native memory, see {@link NativeAddon.snapshotBytes}. */
export type SnapshotBytes = object;

/** Sampling parameters and history of one generation. */
export type NativeSampler = object;

/** A rule to accept drafted tokens by, in native/ops/sample/accept.h. */
export type NativeAccept =
  | { rule: "typical"; epsilon: number; delta: number }
  | { rule: "relaxed"; top: number; gap: number };

/** A head that ends drafts; native/model/stopping_head.h says what it computes. */
export interface NativeStoppingHead {
  /** What it says of states `[N, hidden]`, `[N]`. */
  acceptance(states: Float32Array, level?: Level): Float32Array;
}

/** One linear layer, row-major: weight `[rows, hidden]`, bias `[rows]`. */
export interface NativeLinear {
  weight: Float32Array;
  bias: Float32Array;
}

/** Constructor options of {@link NativeStoppingHead}, which copies the weights. */
export interface NativeStoppingHeadOptions {
  hidden: number;
  /** Of `hidden` rows each, 16 at most. */
  blocks: NativeLinear[];
  /** Two rows, the second is acceptance. */
  classes: NativeLinear;
}

/** Constructor options of {@link NativeSampler}; native/ops/sample/sample.h documents them. */
export interface NativeSamplerOptions {
  vocab: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  seed: bigint;
  history: Int32Array;
  penaltyWindow: number;
  biasIds: Int32Array;
  bias: Float32Array;
  suppressed: Int32Array;
  suppressedEarly: Int32Array;
  minPosition: number;
  /** What a batch that verifies takes of a tree though it was not drawn. @default nothing */
  accept?: NativeAccept;
}

/** Loaded weights. */
export interface NativeModel {
  info(): { bytes: number; fingerprint: bigint };
  sequence(kv: KvFormat): NativeSequence;
  run(batch: NativeBatch): NativeJob<NativeBatchResult>;
  dispose(): void;
}

/** CPU levels, best last. */
export type Level = "ref" | "avx2" | "avx2-vnni" | "avx512-base" | "avx512-vnni" | "avx512" | "avx512-amx" | "neon";

// ---------------------------------------------------------------- the addon

/** Spans of time recorded by engine threads, one entry each. */
export interface NativeProfile {
  /** Names that `phase` indexes. */
  phases: string[];
  phase: Uint8Array;
  /** -1: no layer. */
  layer: Int16Array;
  thread: Int16Array;
  /** Microseconds of a steady clock. */
  begin: Float64Array;
  end: Float64Array;
}

/** The addon's whole surface. */
export interface NativeAddon {
  setErrorClass(errorClass: typeof OutriderError): void;
  cpu(): { level: Level; reason: string; levels: Level[]; threads: number };
  /** GB/s, 1e9 bytes. */
  probeBandwidth(threads: number): NativeJob<number>;
  /** 1e9 multiply-accumulates per second of vectors, of the chosen level; 0 where it has no instruction for them. */
  probeInt8Peak(threads: number): NativeJob<number>;
  probeBf16Peak(threads: number): NativeJob<number>;
  probeF32Peak(threads: number): NativeJob<number>;
  /** Whether spans are recorded. @default false */
  setProfile(on: boolean): void;
  /** The spans recorded since the last call. */
  takeProfile(): NativeProfile;
  loadModel(options: {
    spec: DecoderSpec;
    weights: ModelWeights;
    files: string[];
    key: string;
    threads: number;
  }): NativeJob<NativeModel> & { progress(): number };
  /** `beside`: whether the original is run beside the quantised model, for decoupleq to aim at and for blocks to be trained to. @default false */
  quantizer(options: QuantizeInput & { beside?: boolean }): NativeJob<NativeQuantizer>;
  /** Runs the model on the tokens, and backwards from tokens that it draws. */
  surveyor(options: QuantizeInput & { seed: number }): NativeJob<NativeSurveyor>;
  /** Opens the files; blocks are then added in order, and {@link NativeDistiller.ready} called. */
  distiller(
    options: QuantizeInput & {
      /** How embedding and head are rounded. */
      tableBits: 4 | 8 | 16;
      tableGroup: number;
      seed: number;
      /** Of the first step, relative to the size of what is trained. */
      rate: number;
      steps: number;
    },
  ): NativeJob<NativeDistiller>;
  /** That many bytes of native memory, 0. */
  snapshotBytes(length: number): SnapshotBytes;
  writeSnapshotBytes(bytes: SnapshotBytes, offset: number, piece: Uint8Array): void;
  NativeSampler: new (options: NativeSamplerOptions) => NativeSampler;
  NativeStoppingHead: new (options: NativeStoppingHeadOptions) => NativeStoppingHead;
}

/** A model and the calibration tokens that it is quantised on. */
export interface QuantizeInput {
  spec: DecoderSpec;
  weights: ModelWeights;
  files: string[];
  tokens: Int32Array;
  /** Tokens of each sequence. */
  lengths: Int32Array;
  threads: number;
}

/** What becomes of one matrix of a block; with `codes`, `scale` and `zero` of an earlier run nothing is computed anew. */
export interface MatrixPlan {
  /** 16: stays as it is. */
  bits: 2 | 3 | 4 | 8 | 16;
  group: number;
  method: "rtn" | "gptq" | "decoupleq";
  rounds: number;
  codes?: Uint8Array;
  scale?: Uint16Array;
  zero?: Uint16Array;
}

/** What is done with a block. */
export interface BlockPlan {
  /** Of q, k, v, o, gate, up, down. */
  parts: MatrixPlan[];
  /** Of block-wise minimisation; 0: none. */
  epochs: number;
  /** First learning rate, relative to the size of what is trained. */
  rate: number;
  seed: number;
  /** Of an earlier run: attention norm, MLP norm, and those of queries and keys if heads have them. */
  norms?: Float32Array[];
}

/** What became of a block. */
export interface QuantizedBlock {
  parts: (QuantizedMatrix | undefined)[];
  /** Of a block that was minimised: mean relative error of its output before and after, and its norms, as in {@link BlockPlan}. */
  errorBefore?: number;
  errorAfter?: number;
  norms?: Float32Array[];
}

/** A matrix as files hold it: codes `[rows, ceil(cols * bits / 8)]`, scale and zero f16 `[rows, groups]`. */
export interface QuantizedMatrix {
  rows: number;
  cols: number;
  group: number;
  codes: Uint8Array;
  scale: Uint16Array;
  zero: Uint16Array;
  /** Part of the energy of the layer's output that is lost, on the calibration tokens. */
  loss: number;
  /** The same after rounding to nearest alone. */
  rounded: number;
}

/** A native object with memory of its own; one call at a time. */
interface NativeWorker {
  /** Frees it all; calls after that are refused. Nothing happens the second time. */
  dispose(): void;
}

/** A model on its way to few bits, block by block. */
export interface NativeQuantizer extends NativeWorker {
  /** The next block. */
  block(plan: BlockPlan): NativeJob<QuantizedBlock> & { progress(): number };
  /** Embedding or head, rounded to nearest; f16 values `[rows, cols]` for 16 bits. */
  table(which: "embedding" | "head", bits: 4 | 8 | 16, group: number): NativeJob<QuantizedMatrix | Uint16Array>;
  /** Hidden states of all tokens before the next block, `[T, hidden]`. */
  hidden(): Float32Array;
}

/** What each matrix costs at each number of bits. */
export interface NativeSurveyor extends NativeWorker {
  /**
   * Of the last block that is left: costs of q, k, v, o, gate, up, down at each option, in nats a token; in parts of the output's energy
   * for families that have no backward pass.
   */
  block(options: readonly Pick<MatrixPlan, "bits" | "group">[]): NativeJob<Float64Array[]>;
}

/** Scales and zeros (f16) of q, k, v, o, gate, up, down, and norms as in {@link BlockPlan}. */
export interface TrainedBlock {
  parts: { scale: Uint16Array; zero: Uint16Array }[];
  norms: Float32Array[];
}

/** A quantised model in end-to-end distillation. Losses are KL divergences from the original, in nats a token. */
export interface NativeDistiller extends NativeWorker {
  /** The next block; norms are the model's if absent. */
  block(block: {
    parts: (Pick<MatrixPlan, "bits" | "group"> & Pick<QuantizedMatrix, "codes" | "scale" | "zero">)[];
    norms?: Float32Array[];
  }): NativeJob<true>;
  ready(): NativeJob<true>;
  /**
   * Trains on the next sequence; its loss before that.
   * @param bf16 factors of the student's products are rounded to bf16 where that is faster; default false
   */
  step(bf16?: boolean): NativeJob<number>;
  /** Mean loss of the first sequences, `most` of them. */
  divergence(most: number): NativeJob<number>;
  /** Gradients of one sequence's loss by scales, by the weight in the middle of the codes, and by norms. */
  gradients(sequence: number): NativeJob<{
    loss: number;
    blocks: { scale: Float32Array[]; middle: Float32Array[]; norms: Float32Array[] }[];
    finalNorm: Float32Array;
  }>;
  /** Scales and zeros to f16. */
  round(): void;
  take(layer: number): TrainedBlock;
  finalNorm(): Float32Array;
  /** Everything that {@link restore} needs to go on with the same bits. */
  state(): Float32Array;
  restore(state: Float32Array, steps: number): void;
}

/** The loaded addon. Every other module reaches native code through this one value. */
export const native: NativeAddon = loadAddon() as NativeAddon;
native.setErrorClass(OutriderError);
