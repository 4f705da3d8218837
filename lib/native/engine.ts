// What the engine takes and gives: jobs, batches, and the objects that they work on.

/** CPU levels, best last. */
export type Level = "ref" | "avx2" | "avx2-vnni" | "avx512-base" | "avx512-vnni" | "avx512" | "avx512-amx" | "neon";

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
  /**
   * A batch that verifies one root of one sequence drafts by itself, and repeats so many steps: where the last m tokens occurred before, the first time that so many did, `copies[m]` of those that came after
   * them there, and `copies[0]` behind up to three tokens that were others than those of the source of the last copy. -1: a repetition does not count, or nothing is copied behind such tokens; 0: what would come is noted, not drafted. At most 65
   * entries, -1 to 255 each; the last is for longer runs too. Excludes `want.best`, `stop`, `leastConfidence` and samplers that accept by a rule.
   */
  copies?: Int32Array;
  /** Of a batch that copies: tokens that it draws at most, 1 to 4096. */
  mostTokens?: number;
  /** Of a batch that copies: time after which it takes no other step. */
  mostSeconds?: number;
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
  /** Rows of the walks of a batch that verifies and does not copy, those of a sequence one after the other, and how many each sequence has. */
  walk?: Int32Array;
  walked?: Int32Array;
  /** For each token of a walk: 1 if it was accepted by the sampler's rule and not drawn; absent where no sampler has a rule. */
  byRule?: Uint8Array;
  /**
   * Of a batch that copies, for each step, or several in a row that proposed nothing: tokens drawn, tokens of `proposed`, how many of those were drafted, tokens of the repetition, and seconds;
   * `[steps, 5]`.
   */
  steps?: Float64Array;
  /** The tokens that came next in the source, of all steps: those drafted, or one that was not. Absent if there are none. */
  proposed?: Int32Array;
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
