// A smaller model at work on one text: its KV cache follows the text, and chains are drawn behind it in one native call.

import type { KvCache } from "../cache/kv-cache.ts";
import type { ChainLength } from "../draft/chain-length.ts";
import type { DraftBudget, DraftOutcome, DraftSampling, DraftSession } from "../draft/drafter.ts";
import type { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import { type NativeBatchResult, type NativeStoppingHead, want } from "../native.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { DraftDraws } from "./draft-draws.ts";
import { drawnChain } from "./drawn-chain.ts";
import type { ModelParts } from "./parts.ts";

/** Where ids and positions are others, penalties mean nothing and the noise is another: the likeliest token is the best guess. */
const foreign = { temperature: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 };

const decoder = new TextDecoder("utf-8", { fatal: true });

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
  readonly #sampling: DraftSampling;
  readonly #shape: ChainShape;
  readonly #cache: KvCache;
  readonly #draws: DraftDraws;
  /** The text in tokens of the draft model. */
  readonly #text: number[] = [];
  #root = -1;
  /** What the cache holds: so many tokens of the text, and what was drafted behind them. */
  #held = 0;
  #ahead: number[] = [];
  #running: Promise<unknown> | undefined;
  #ended = false;
  readonly #left = new AbortController();
  /** Tokens of the model that were drafted behind the root. */
  #drafted: number[] = [];

  constructor(
    model: ModelParts,
    bridge: VocabularyBridge,
    length: ChainLength,
    tokens: ArrayLike<number>,
    sampling: DraftSampling,
    shape: ChainShape,
  ) {
    this.#model = model;
    this.#bridge = bridge;
    this.#length = length;
    this.#shape = shape;
    this.#cache = model.runtime.newCache();
    this.#append(tokens);
    const { vocab } = model.runtime.spec;
    const bias = new Map(bridge.same ? [...sampling.logitBias].filter(([id]) => id < vocab) : []);
    for (const id of bridge.unknown(vocab)) bias.set(id, Number.NEGATIVE_INFINITY);
    const ids = (list: readonly number[]) => list.flatMap((id) => bridge.toDraft(id) ?? []);
    this.#sampling = {
      ...{ ...sampling, ...(bridge.same ? {} : foreign), logitBias: bias },
      ...{ stopTokens: ids(sampling.stopTokens), endIds: ids(sampling.endIds) },
    };
    this.#draws = new DraftDraws(this.#sampling, vocab, this.#text.length);
  }

  #append(tokens: ArrayLike<number>): void {
    for (let i = 0; i < tokens.length; i++) {
      const id = this.#bridge.toDraft(tokens[i]);
      if (id !== undefined) this.#text.push(id);
      else this.#text.push(...this.#spelled(tokens[i]));
    }
    this.#root = tokens.length > 0 ? tokens[tokens.length - 1] : this.#root;
  }

  /** A token that the draft model does not have, in several that it has. */
  #spelled(token: number): Int32Array {
    try {
      return this.#model.tokenizer.encode(decoder.decode(this.#bridge.bytesOf(token)), { special: false });
    } catch {
      return new Int32Array(); // part of a character: left out, which costs acceptance at most
    }
  }

  /** Takes back what the cache holds beyond the text, and gives the tokens that it lacks. */
  #catchUp(): Int32Array {
    // The last token is always evaluated: what follows it is wanted.
    const text = this.#text;
    let agreed = 0;
    while (agreed < this.#ahead.length && this.#ahead[agreed] === text[this.#held + agreed]) agreed += 1;
    this.#held = Math.min(this.#held + agreed, text.length - 1);
    this.#ahead = [];
    if (this.#held < this.#cache.length) this.#cache.truncate(this.#held);
    return Int32Array.from(text.slice(this.#held));
  }

  async propose({ nodes, depth, costs }: DraftBudget): Promise<TokenTree | undefined> {
    this.#drafted = [];
    const { minConfidence, branches, stop, stopAt } = this.#shape;
    const room = this.#cache.contextLength - this.#text.length;
    const count = this.#length.choose(costs, Math.min(Math.floor(nodes / branches), depth, room));
    if (count < 1 || this.#ended || this.#text.length === 0) return undefined;
    const tokens = this.#catchUp();
    const wants = new Uint8Array(tokens.length);
    wants[tokens.length - 1] = want.sample | want.topk;
    const started = performance.now();
    const step = {
      ...{
        caches: [this.#cache],
        samplers: [this.#draws.after(this.#text, this.#held)],
        tokens,
        sequence: new Int32Array(tokens.length),
        wants,
      },
      ...{ repeat: count, ends: Int32Array.from(this.#sampling.endIds), topK: branches },
      ...{ leastConfidence: minConfidence, stop, stopAt },
    };
    this.#running = this.#model.runtime.step(step, this.#left.signal);
    const result = (await this.#running.finally(() => {
      if (this.#ended) this.#cache.dispose();
      this.#running = undefined;
    })) as NativeBatchResult;
    if (this.#ended) return undefined;
    const { sampled, seconds } = result;
    this.#held = this.#text.length;
    this.#ahead = Array.from(sampled.slice(0, -1));
    // A step that also catches up on more than the last two tokens says nothing about one.
    const around = (performance.now() - started) / 1e3 - seconds;
    if (tokens.length <= 2) this.#length.time(sampled.length, seconds, around);
    const { tree, chain } = drawnChain(this.#root, result, branches, (id) => this.#bridge.toModel(id));
    this.#drafted = chain;
    return tree;
  }

  observe({ tokens }: DraftOutcome): void {
    this.#length.learn(this.#drafted, tokens);
    this.#drafted = [];
    this.#append(tokens);
  }

  end(): void {
    this.#ended = true;
    this.#left.abort();
    if (!this.#running) this.#cache.dispose();
  }
}
