// The public names of outrider.

export type { ApproximateRule, SpeculationStats } from "./draft/account.ts";
export { autoDrafters } from "./draft/auto.ts";
export { type CopyOptions, copy } from "./draft/copy.ts";
export type {
  DraftBudget,
  DraftContext,
  DraftCopies,
  DraftCosts,
  Drafter,
  DraftOutcome,
  DraftSampling,
  DraftSession,
  LearningDrafter,
} from "./draft/drafter.ts";
export { type InputOptions, input } from "./draft/input.ts";
export { type LookaheadOptions, lookahead } from "./draft/lookahead.ts";
export { type NgramOptions, ngram } from "./draft/ngram.ts";
export { type RecycleOptions, recycle } from "./draft/recycle.ts";
export type { DraftShape } from "./draft/shapes/options.ts";
export { type SuffixOptions, suffix } from "./draft/suffix.ts";
export { type ErrorCode, errorCodes, OutriderError } from "./errors.ts";
export type { Approximation, RelaxedApproximation, TypicalApproximation } from "./generate/approximation.ts";
export type { TokenIds } from "./generate/arguments.ts";
export { Chat, type ChatOptions } from "./generate/chat.ts";
export { type Diagnosis, doctor } from "./generate/doctor.ts";
export { type DraftModel, type DraftModelOptions, draftModel } from "./generate/draft-model.ts";
export type { FinishReason, Generation, GenerationStats, Logprob, Piece } from "./generate/generation.ts";
export { type Inspection, inspect } from "./generate/inspect.ts";
export type { Measurement, MeasureOptions } from "./generate/measure.ts";
export { Model, type Prompt } from "./generate/model.ts";
export type { GenerateOptions, SamplingOptions } from "./generate/options.ts";
export type { ModelInfo } from "./generate/parts.ts";
export { type PearlOptions, pearl } from "./generate/pearl.ts";
export type { Perplexity, PerplexityOptions } from "./generate/score.ts";
export { type SkipLayersOptions, skipLayers } from "./generate/skip-layers.ts";
export type {
  Superposed,
  SuperposedContinuation,
  SuperposedOptions,
  SuperposedStats,
} from "./generate/superposed.ts";
export type { TextStream } from "./generate/text-stream.ts";
export { type CompareOptions, type Comparison, compareModels } from "./quantize/compare.ts";
export { type LoadOptions, type LoadProgress, load } from "./quantize/load.ts";
export type { QuantizeModelOptions, QuantizePlan, QuantizeProgress } from "./quantize/options.ts";
export { type BlockReport, type QuantizedModel, quantizeModel } from "./quantize/quantize-model.ts";
export type { WeightsOptions } from "./quantize/weights-options.ts";
export type { DType } from "./tensor/dtype.ts";
export { Tensor } from "./tensor/tensor.ts";
export type { Message } from "./text/chat-template.ts";
export { chain } from "./tree/build.ts";
export { TokenTree, type TreeParts } from "./tree/token-tree.ts";
