// A smaller model at work on one text while the model verifies: it goes on from what it drafted as if that were right.

import type { KvCache } from "../cache/kv-cache.ts";
import { commonPrefix } from "../draft/common-prefix.ts";
import type { DraftBudget, DraftCosts, DraftOutcome, DraftSampling, DraftSession } from "../draft/drafter.ts";
import type { MeanTime } from "../draft/mean-time.ts";
import type { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import type { NativeBatchResult } from "../native.ts";
import { chain } from "../tree/build.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { DraftDraws, drawAhead } from "./draft-draws.ts";
import { DraftText } from "./draft-text.ts";
import type { ModelParts } from "./parts.ts";

/** Tokens to have for a proposal while nothing was timed. */
const firstLength = 3;

/** What the sessions of one drafter share. */
export interface PearlSettings {
  maxTokens: number;
  minConfidence: number;
  threads: number;
  /** Seconds of a drafted token. */
  token: MeanTime;
  /** Whether the last text that ended was ever drafted for: who is not asked does not read texts in advance. */
  wanted: boolean;
}

/** Drafts for one text beside the model. */
export class PearlSession implements DraftSession {
  readonly #model: ModelParts;
  readonly #bridge: VocabularyBridge;
  readonly #settings: PearlSettings;
  readonly #said: DraftText;
  readonly #draws: DraftDraws;
  readonly #cache: KvCache;
  /** Tokens that were drafted behind the first so many of the text, and their probabilities. The cache holds no more than these without the last. */
  #from = 0;
  #ahead: number[] = [];
  #sure: number[] = [];
  /** The draft under way, which never rejects, and what ends it. */
  #running: Promise<void> | undefined;
  #stop = new AbortController();
  #failed: { error: unknown } | undefined;
  #asked = false;
  #ended = false;
  #proposed = false;
  /** Tokens that the next step may bring if nothing is proposed for it: the loop takes up to twice as many in a call as the time before. */
  #burst = 1;

  constructor(
    model: ModelParts,
    bridge: VocabularyBridge,
    tokens: ArrayLike<number>,
    sampling: DraftSampling,
    settings: PearlSettings,
  ) {
    this.#model = model;
    this.#bridge = bridge;
    this.#settings = settings;
    this.#said = new DraftText(model, bridge, tokens, sampling);
    this.#from = this.#said.tokens.length;
    this.#draws = new DraftDraws(this.#said.sampling, model.runtime.spec.vocab, this.#from);
    this.#cache = model.runtime.newCache();
    if (settings.wanted) this.#draft(1 + firstLength); // the model reads the text meanwhile, and draws the first of them itself
  }

  /** Drafted tokens that the text has had so far. */
  #agreed(): number {
    return commonPrefix(this.#ahead, this.#said.tokens, this.#from);
  }

  /** Takes back what was drafted if the text says something else or more, and otherwise what the text has of it. */
  #rejoin(): void {
    const { length } = this.#said.tokens;
    const agreed = this.#agreed();
    if (this.#from + agreed < length) {
      this.#ahead = [];
      this.#sure = [];
      // The last token is always evaluated: what follows it is wanted.
      const held = Math.min(this.#from + agreed, length - 1);
      if (held < this.#cache.length) this.#cache.truncate(held);
    } else {
      this.#ahead.splice(0, agreed);
      this.#sure.splice(0, agreed);
    }
    this.#from = length;
  }

  /** Starts to draw so many tokens more, as far as there is room. */
  #draft(count: number): void {
    const { runtime } = this.#model;
    const { threads, token } = this.#settings;
    const { endIds } = this.#said.sampling;
    const line = this.#said.tokens.concat(this.#ahead);
    const repeat = Math.min(count, this.#cache.contextLength - line.length);
    if (repeat < 1 || line.length === 0 || endIds.includes(this.#ahead.at(-1) ?? -1)) return;
    const tokens = Int32Array.from(line.slice(this.#cache.length));
    const sampler = this.#draws.after(line, this.#cache.length);
    const step = { ...drawAhead(this.#cache, sampler, tokens, repeat, endIds), beside: true, threads };
    const stop = new AbortController();
    const taken = ({ sampled, sampledLogprob, seconds }: NativeBatchResult) => {
      for (const [i, id] of sampled.entries()) {
        this.#ahead.push(id);
        this.#sure.push(Math.min(1, Math.exp(sampledLogprob?.[i] ?? 0)));
      }
      // A step that also catches up on more than the last two tokens says nothing about one.
      if (tokens.length <= 2) token.observe(seconds / sampled.length);
    };
    const failed = (error: unknown) => {
      if (!stop.signal.aborted) this.#failed = { error };
    };
    this.#stop = stop;
    this.#running = runtime
      .step(step, stop.signal)
      .then(taken, failed)
      .finally(() => {
        this.#running = undefined;
        if (this.#ended) this.#cache.dispose();
      });
  }

  /** Tokens to draw in the time of a step of so many rows, so that one at least is left of all that there are when the text has grown by `passing`. */
  #count(rows: number, passing: number, costs: DraftCosts | undefined): number {
    const { maxTokens, token } = this.#settings;
    const { length } = this.#ahead;
    const meanwhile =
      costs && token.value ? Math.round(costs.tree(rows) / token.value) : passing + firstLength - length;
    return Math.min(Math.max(meanwhile, passing + 1 - length), passing + maxTokens - length);
  }

  /** What was drafted behind the text, up to where it is not sure enough. What is left out may still be right. */
  #proposal(most: number): TokenTree | undefined {
    const tokens: number[] = [];
    const reach: number[] = [];
    for (const id of this.#ahead.slice(0, most)) {
      const token = this.#bridge.toModel(id);
      if (token === undefined || (reach.at(-1) ?? 1) < this.#settings.minConfidence) break;
      reach.push((reach.at(-1) ?? 1) * this.#sure[tokens.length]);
      tokens.push(token);
    }
    return tokens.length > 0 ? chain(this.#said.root, tokens, reach) : undefined;
  }

  async propose({ nodes, depth, costs }: DraftBudget): Promise<TokenTree | undefined> {
    this.#asked = true;
    await this.#running;
    if (this.#failed) throw this.#failed.error;
    if (this.#ended) return undefined;
    this.#rejoin();
    const tree = this.#proposal(Math.min(this.#settings.maxTokens, nodes, depth));
    this.#proposed = tree !== undefined;
    const count = this.#count(tree?.size ?? 1, tree?.size ?? this.#burst, costs);
    this.#draft(Math.min(count, depth - this.#ahead.length)); // the text is finished after `depth` tokens
    return tree;
  }

  observe({ tokens }: DraftOutcome): void {
    this.#said.append(tokens);
    this.#burst = this.#proposed && tokens.length > 1 ? 1 : 2 * tokens.length;
    this.#proposed = false;
    // What goes on from other tokens than the text has is of no use.
    const known = Math.min(this.#ahead.length, this.#said.tokens.length - this.#from);
    if (this.#agreed() < known) this.#stop.abort();
  }

  end(): void {
    this.#ended = true;
    this.#settings.wanted = this.#asked;
    this.#stop.abort();
    if (!this.#running) this.#cache.dispose();
  }
}
