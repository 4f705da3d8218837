// A smaller model at work on one text: its KV cache follows the text, and chains are drawn behind it in one native call, or trees level by level.

import type { KvCache } from "../cache/kv-cache.ts";
import type { ChainLength } from "../draft/chain-length.ts";
import { commonPrefix } from "../draft/common-prefix.ts";
import type { DraftBudget, DraftOutcome, DraftSampling, DraftSession } from "../draft/drafter.ts";
import type { Shape } from "../draft/shapes/growth.ts";
import type { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import type { NativeBatchResult, NativeStoppingHead } from "../native.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import type { DraftCaches } from "./draft-caches.ts";
import { DraftDraws, drawAhead } from "./draft-draws.ts";
import { DraftText } from "./draft-text.ts";
import { drawnChain } from "./drawn-chain.ts";
import type { ModelParts } from "./parts.ts";
import { TreeDrafts } from "./tree-drafts.ts";

/**
 * Tokens that it may have missed while it was not asked: to read more costs more than it won before it was left alone. Then the rest of the text goes without it, and the
 * next one begins anew.
 */
const mostMissed = 64;

/** Where chains end, and what is beside them. */
interface ChainShape {
  minConfidence: number;
  branches: number;
  stop?: NativeStoppingHead;
  stopAt: number;
}

/** Drafts for one text with a model of its own. */
export class ModelDraftSession implements DraftSession {
  readonly #model: ModelParts;
  readonly #bridge: VocabularyBridge;
  readonly #length: ChainLength;
  readonly #shape: ChainShape;
  readonly #trees: TreeDrafts | undefined;
  readonly #caches: DraftCaches;
  readonly #cache: KvCache;
  readonly #draws: DraftDraws;
  readonly #said: DraftText;
  /** Its tokens. */
  readonly #text: readonly number[];
  /** What the cache holds: so many tokens of the text, and what was drafted behind them. */
  #held = 0;
  #ahead: number[] = [];
  #running: Promise<unknown> | undefined;
  #ended = false;
  #asked = false;
  readonly #left = new AbortController();
  /** Tokens of the model that were drafted behind the root. */
  #drafted: number[] = [];

  constructor(
    model: ModelParts,
    bridge: VocabularyBridge,
    length: ChainLength,
    tokens: ArrayLike<number>,
    sampling: DraftSampling,
    { shape, ...chain }: ChainShape & { shape?: Shape },
    caches: DraftCaches,
  ) {
    this.#model = model;
    this.#bridge = bridge;
    this.#length = length;
    this.#shape = chain;
    this.#said = new DraftText(model, bridge, tokens, sampling);
    this.#text = this.#said.tokens;
    this.#caches = caches;
    this.#cache = caches.take(model.runtime, this.#text);
    this.#held = this.#cache.length;
    this.#draws = new DraftDraws(this.#said.sampling, model.runtime.spec.vocab, this.#text.length);
    const toModel = (id: number) => bridge.toModel(id);
    if (shape) this.#trees = new TreeDrafts(model.runtime, shape, toModel, this.#said.sampling, chain.minConfidence);
  }

  /** Takes back what the cache holds beyond the text, and gives the tokens that it lacks. */
  #catchUp(): Int32Array {
    // The last token is always evaluated: what follows it is wanted.
    const text = this.#text;
    const agreed =
      this.#trees?.commit(this.#cache, text.slice(this.#held, -1)) ?? commonPrefix(this.#ahead, text, this.#held);
    this.#held = Math.min(this.#held + agreed, text.length - 1);
    this.#ahead = [];
    if (this.#held < this.#cache.length) this.#cache.truncate(this.#held);
    return Int32Array.from(text.slice(this.#held));
  }

  /** Whether it has missed too much. The prompt is read whole. */
  get #lost(): boolean {
    const behind = this.#text.length - this.#held - this.#ahead.length;
    return this.#asked && behind > mostMissed;
  }

  /** Takes the cache until it is done, and disposes it then if the text has ended meanwhile. */
  #run<T>(work: Promise<T>): Promise<T> {
    this.#running = work;
    return work.finally(() => {
      if (this.#ended) this.#cache.dispose();
      this.#running = undefined;
    });
  }

  async propose(budget: DraftBudget): Promise<TokenTree | undefined> {
    const { nodes, depth, costs } = budget;
    this.#drafted = [];
    if (this.#ended || this.#text.length === 0 || this.#lost) return undefined;
    const { minConfidence, branches, stop, stopAt } = this.#shape;
    const room = this.#cache.contextLength - this.#text.length;
    const count = this.#length.choose(costs, Math.min(Math.floor(nodes / branches), depth, room));
    if (count < 1) return undefined;
    this.#asked = true;
    const tokens = this.#catchUp();
    if (this.#trees) return this.#grow(this.#trees, tokens, count, budget);
    const started = performance.now();
    const sampler = this.#draws.after(this.#text, this.#held);
    const step = {
      ...drawAhead(this.#cache, sampler, tokens, count, this.#said.sampling.endIds, branches),
      ...{ leastConfidence: minConfidence, stop, stopAt },
    };
    const result: NativeBatchResult = await this.#run(this.#model.runtime.step(step, this.#left.signal));
    if (this.#ended) return undefined;
    const { sampled, seconds } = result;
    this.#held = this.#text.length;
    this.#ahead = Array.from(sampled.slice(0, -1));
    // A step that also catches up on more than the last two tokens says nothing about one.
    const around = (performance.now() - started) / 1e3 - seconds;
    if (tokens.length <= 2) this.#length.time(sampled.length, seconds, around);
    const { tree, chain } = drawnChain(this.#said.root, result, branches, (id) => this.#bridge.toModel(id));
    this.#drafted = chain;
    return tree;
  }

  /** @param tokens of the text that the cache lacks */
  async #grow(
    trees: TreeDrafts,
    tokens: Int32Array,
    depth: number,
    budget: DraftBudget,
  ): Promise<TokenTree | undefined> {
    const sampler = this.#draws.after(this.#text, this.#held);
    const soil = { cache: this.#cache, sampler, tokens, root: this.#said.root, depth };
    const { tree, levels, seconds } = await this.#run(trees.grow(soil, budget, this.#left.signal));
    if (this.#ended) return undefined;
    this.#held = this.#text.length;
    if (tokens.length <= 2) this.#length.time(levels, seconds, 0);
    return tree;
  }

  observe({ tokens }: DraftOutcome): void {
    if (this.#trees) this.#trees.learn(this.#length, tokens);
    else this.#length.learn(this.#drafted, tokens);
    this.#drafted = [];
    this.#said.append(tokens);
  }

  end(): void {
    this.#ended = true;
    this.#left.abort();
    if (this.#running) return;
    this.#cache.truncate(this.#held); // what trees left behind goes too
    this.#caches.put(this.#text.slice(0, this.#held), this.#cache);
  }
}
