// What quantises: blocks, the survey of bits, distillation.

import type { DecoderSpec, ModelWeights } from "./decoder.ts";
import type { NativeJob } from "./engine.ts";

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
