// The public names of outrider.
export { type ErrorCode, errorCodes, OutriderError } from "./errors.ts";
export { Chat, type ChatOptions } from "./generate/chat.ts";
export type { FinishReason, Generation, GenerationStats, Logprob, Piece } from "./generate/generation.ts";
export { Model, type ModelInfo, type Prompt } from "./generate/model.ts";
export { load, type LoadOptions, type LoadProgress } from "./generate/open.ts";
export type { GenerateOptions, SamplingOptions } from "./generate/options.ts";
export type { Perplexity, PerplexityOptions } from "./generate/score.ts";
export { inspect, type Inspection } from "./generate/inspect.ts";
export { doctor, type Diagnosis } from "./generate/doctor.ts";
export type { DType } from "./tensor/dtype.ts";
export { Tensor } from "./tensor/tensor.ts";
export type { Message } from "./text/chat-template.ts";
