/** Sizes of a llama. */
export interface LlamaShape {
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  ffn: number;
  vocab: number;
  context: number;
}

/** The shape of TinyLlama 1.1B, with a longer context. */
export const llama1b: LlamaShape;

/** A GGUF file of random weights with every matrix in `format`; its path. Written once and reused. */
export function ggufModel(shape: LlamaShape, format: "q2_k" | "q4_0" | "q8_0" | "f16" | "f32"): string;

/** A folder of random affine weights; its path. Written once and reused. */
export function affineModel(shape: LlamaShape, bits: 2 | 4 | 8, group: number): string;
