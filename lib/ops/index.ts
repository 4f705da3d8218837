// outrider/ops: typed tensors and the ops on them.

export { type ErrorCode, OutriderError } from "../errors.ts";
export type { AffineType, DataOf, DType, PlainType } from "../tensor/dtype.ts";
export { affine, bf16, f16, f32, f64, i8, i32, u8, u32 } from "../tensor/make.ts";
export { type AffineParts, type Shape, Tensor } from "../tensor/tensor.ts";
export { type ActivationInput, type ActivationKind, activation } from "./activation.ts";
export { type AttentionInput, attention } from "./attention.ts";
export { type EmbeddingInput, embedding } from "./embedding.ts";
export { type GemmInput, gemm } from "./gemm.ts";
export { KvPages } from "./kv-pages.ts";
export { type LayernormInput, layernorm } from "./layernorm.ts";
export { type FloatType, type OpOptions, opLevels } from "./native-ops.ts";
export { PackedWeights, packWeights, type WeightTensor } from "./packed-weights.ts";
export { type QuantizeInput, type QuantizeOutput, quantize } from "./quantize.ts";
export { type RmsnormInput, rmsnorm } from "./rmsnorm.ts";
export { type RopeInput, rope } from "./rope.ts";
export { type RopeFrequencies, type RopeParameters, ropeFrequencies } from "./rope-frequencies.ts";
export { type SampleInput, sample, sampleDraws, sampleUniform } from "./sample.ts";
export { type SoftmaxInput, softmax } from "./softmax.ts";
export { argmax, logsumexp, type TopkInput, type TopkOutput, topk } from "./topk.ts";
