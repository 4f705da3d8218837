// A model that drafts for itself with some of its layers left out.

import type { KvCache } from "../cache/kv-cache.ts";
import { ChainLength } from "../draft/chain-length.ts";
import { checkInteger, checkProbability } from "../draft/check-integer.ts";
import type { DraftBudget, DraftOutcome, DraftSampling, DraftSession, LearningDrafter } from "../draft/drafter.ts";
import { checkFolder, Keep } from "../draft/keep.ts";
import { GreedyApart, PerModel } from "../draft/per-model.ts";
import { SkipSearch } from "../draft/skip-search.ts";
import { badArgument, checkOptions, OutriderError } from "../errors.ts";
import type { Runtime } from "../model/runtime.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { DraftDraws, drawAhead } from "./draft-draws.ts";
import { drawnChain } from "./drawn-chain.ts";

/** The model at work on a text. Between two steps its cache holds every token but the last. */
export interface TextSelf {
  runtime: Runtime;
  cache: KvCache;
}

/** Options of {@link skipLayers}. */
export interface SkipLayersOptions {
  /** Share of all attention and feed-forward parts that is left out, below 1. @default 0.45 */
  share?: number;
  /** Tokens that are drafted at most. @default 6 */
  maxTokens?: number;
  /** A draft ends where the probabilities of its tokens, multiplied, fall below this. @default 0.3 */
  minConfidence?: number;
  /** Where what was found out about each model is kept for the next process. @default nowhere */
  folder?: string;
}

class SkipSession implements DraftSession {
  readonly #self: TextSelf;
  readonly #search: SkipSearch;
  readonly #length: ChainLength;
  readonly #sampling: DraftSampling;
  readonly #minConfidence: number;
  readonly #draws: DraftDraws;
  readonly #changed: () => void;
  readonly #left = new AbortController();
  readonly #text: number[];
  #drafted: number[] = [];

  constructor(
    self: TextSelf,
    search: SkipSearch,
    length: ChainLength,
    tokens: ArrayLike<number>,
    sampling: DraftSampling,
    minConfidence: number,
    changed: () => void,
  ) {
    this.#self = self;
    this.#search = search;
    this.#length = length;
    this.#sampling = sampling;
    this.#minConfidence = minConfidence;
    this.#changed = changed;
    this.#text = Array.from(tokens);
    this.#draws = new DraftDraws(sampling, self.runtime.spec.vocab, tokens.length);
  }

  async propose({ nodes, depth, costs }: DraftBudget): Promise<TokenTree | undefined> {
    this.#drafted = [];
    const { runtime, cache } = this.#self;
    const room = cache.contextLength - this.#text.length;
    const count = this.#length.choose(costs, Math.min(nodes, depth, room));
    if (count < 1) return undefined;
    const { attention, mlp } = this.#search.mask;
    const root = this.#text[this.#text.length - 1];
    // Layers that run see what the whole model has written; what they write themselves goes with the fork.
    const fork = cache.fork();
    const started = performance.now();
    try {
      const sampler = this.#draws.after(this.#text, this.#text.length - 1);
      const step = {
        ...drawAhead(fork, sampler, Int32Array.of(root), count, this.#sampling.endIds),
        ...{ skipAttention: attention, skipMlp: mlp, leastConfidence: this.#minConfidence },
      };
      const result = await runtime.step(step, this.#left.signal);
      this.#length.time(result.sampled.length, result.seconds, (performance.now() - started) / 1e3 - result.seconds);
      const { tree, chain } = drawnChain(root, result, 1, (id) => id);
      this.#drafted = chain;
      return tree;
    } finally {
      fork.dispose();
    }
  }

  observe({ tokens }: DraftOutcome): void {
    const right = this.#length.learn(this.#drafted, tokens);
    if (this.#drafted.length > 0) this.#search.observe(1 + right, this.#drafted.length);
    this.#drafted = [];
    for (const token of tokens) this.#text.push(token);
  }

  end(): void {
    this.#left.abort();
    this.#changed();
  }
}

/**
 * The model drafts for itself with part of its layers left out (SWIFT, arXiv:2410.06916): which ones is searched while
 * it drafts, for all texts of a model together. Its drafts take half a token's time each, so that it pays where nearly all of them are right and rows are
 * cheap; elsewhere the policy leaves it alone.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function skipLayers(options: SkipLayersOptions = {}): LearningDrafter {
  checkOptions(options, ["share", "maxTokens", "minConfidence", "folder"]);
  const { share = 0.45, maxTokens = 6, minConfidence = 0.3, folder } = options;
  if (!(share >= 0 && share < 1)) throw badArgument("share", "a number from 0 to below 1", share);
  checkProbability("minConfidence", minConfidence);
  checkInteger("maxTokens", maxTokens, 1, 64);
  checkFolder(folder);
  const name = `skipLayers-${Math.round(100 * share)}`;
  const searches = new Keep(folder, name, ({ layers }) => new SkipSearch(layers, share));
  const lengths = new PerModel(() => new GreedyApart(() => new ChainLength(maxTokens)));
  return {
    name: "skipLayers",
    kind: `${name}, at most ${maxTokens}`,
    prepare: (context) => searches.read(context),
    start(tokens, context, sampling, self) {
      if (self === undefined)
        throw new OutriderError("OUTRIDER_UNSUPPORTED", "Expected a model at work on the text, received none");
      const length = lengths.of(context).of(sampling);
      const changed = () => searches.changed(context);
      return new SkipSession(self as TextSelf, searches.of(context), length, tokens, sampling, minConfidence, changed);
    },
    save: () => searches.save(),
  };
}
