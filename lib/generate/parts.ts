// What a model is made of, for the rooms that work on models; callers only see Model.

import type { DraftContext } from "../draft/drafter.ts";
import type { Experience } from "../draft/experience.ts";
import type { Runtime } from "../model/runtime.ts";
import type { ChatTemplate } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Defaults } from "./options.ts";

/** What a model is. */
export interface ModelInfo {
  family: string;
  /** Folder or file it was loaded from. */
  file: string;
  parameters: number;
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  contextLength: number;
  /** Stored bytes of the weights by format. */
  bytesByFormat: Readonly<Record<string, number>>;
  /** Bytes of the weights in memory. */
  weightBytes: number;
  kv: string;
  activation: "float" | "int8";
  threads: number;
}

/** The parts of a model, put together by load(). */
export interface ModelParts {
  runtime: Runtime;
  tokenizer: Tokenizer;
  template: ChatTemplate;
  endIds: readonly number[];
  defaults: Defaults;
  experience: Experience;
  draftContext: DraftContext;
  info: ModelInfo;
}

const known = new WeakMap<object, ModelParts>();

/** Notes what a model is made of. */
export function keepParts(model: object, parts: ModelParts): void {
  known.set(model, parts);
}

/** What a model is made of; undefined for anything else. */
export function partsOf(model: object): ModelParts | undefined {
  return known.get(model);
}
