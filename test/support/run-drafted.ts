// A text of a model where whatever is drafted is evaluated.
import type { Drafter } from "../../lib/draft/drafter.ts";
import { Drafting } from "../../lib/draft/drafting.ts";
import type { Experience } from "../../lib/draft/experience.ts";
import { decode, emptyStats } from "../../lib/generate/decode.ts";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import type { Model } from "../../lib/index.ts";
import { Eager } from "./eager.ts";

/** Tokens of a text with log-probabilities, and what drafting says. 48 tokens unless told otherwise. */
export async function runDrafted(
  model: Model,
  prompt: string,
  options: GenerateOptions,
  drafters: readonly Drafter[],
  policy: Experience = new Eager(),
) {
  const { runtime, draftContext, tokenizer } = partsOf(model) as ModelParts;
  for (const drafter of drafters) await drafter.prepare?.(draftContext);
  const resolved = resolveOptions({ seed: 1, maxTokens: 48, ...options }, {}, runtime.spec.vocab);
  const cache = runtime.newCache();
  let drafting: Drafting | undefined;
  const start = (text: Int32Array) => {
    const self = { runtime, cache };
    drafting = new Drafting(drafters, policy, text, draftContext, { ...resolved, endIds: [] }, self);
    return drafting;
  };
  const draft = drafters.length > 0 ? start : undefined;
  const drawn = [];
  try {
    for await (const token of decode(runtime, cache, tokenizer.encode(prompt), 0, [], resolved, emptyStats(), draft))
      drawn.push(token);
  } finally {
    cache.dispose();
  }
  return { drawn, stats: drafting?.stats };
}

/** Ways of drawing that a draft must not change. */
export const waysOfDrawing: [string, GenerateOptions][] = [
  ["greedy", {}],
  ["temperature 0.7, top-k", { temperature: 0.7, topK: 40, seed: 2, logprobs: 2 }],
  ["temperature 1.2, top-p, min-p", { temperature: 1.2, topP: 0.95, minP: 0.02, seed: 3 }],
  [
    "penalties, bias, minTokens",
    {
      temperature: 0.8,
      repetitionPenalty: 1.2,
      frequencyPenalty: 0.1,
      penaltyWindow: 24,
      logitBias: { 300: 2 },
      seed: 4,
    },
  ],
];
