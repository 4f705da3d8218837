// Drafts from everything that was said before, in this text and in finished ones.

import { badArgument, checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { Backlog } from "./backlog.ts";
import { checkInteger } from "./check-integer.ts";
import type { DraftBudget, DraftContext, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";
import { type Candidate, growTree } from "./grow-tree.ts";
import { Memory } from "./memory.ts";
import { SuffixTrie } from "./suffix-trie.ts";

/** Options of {@link suffix}. */
export interface SuffixOptions {
  /** Longest run that is looked up. @default 24 */
  depth?: number;
  /** Tokens of finished texts that are remembered, at up to 1 KiB each. @default 16384 */
  remember?: number;
  /** Drafted tokens for each token that agrees. @default 2 */
  factor?: number;
}

/** Where a text ends in a trie: the node of the longest run that something followed, and its length. */
interface Place {
  trie: SuffixTrie;
  node: number;
}

/** What followed, by how often; a run that was seen once is not certain to come again. */
function candidatesOf({ trie, node }: Place): Candidate<Place>[] {
  const total = trie.count(node) + 0.25;
  return trie
    .continuations(node, 8)
    .map(({ token, node: next, count }) => ({ token, share: count / total, state: () => ({ trie, node: next }) }));
}

/** Tokens that are indexed before a proposal: each takes a step for every length of run. */
const slice = 256;

class SuffixSession implements DraftSession {
  readonly #backlog: Backlog;
  readonly #own: SuffixTrie;
  readonly #past: SuffixTrie;
  readonly #factor: number;
  readonly #finish: (said: number[]) => void;
  readonly #said: number[] = [];
  #ends: readonly number[] = [];
  #root: number;

  constructor(
    depth: number,
    past: SuffixTrie,
    text: ArrayLike<number>,
    factor: number,
    finish: (said: number[]) => void,
  ) {
    this.#own = new SuffixTrie(depth);
    this.#past = past;
    this.#factor = factor;
    this.#finish = finish;
    this.#root = text[text.length - 1];
    this.#backlog = new Backlog(text, (token) => this.#append(token), slice);
  }

  #append(token: number): void {
    this.#own.append(token);
    this.#ends = this.#past.follow(this.#ends, token);
  }

  /** A tree from one trie, as deep as what agrees allows. */
  #from(trie: SuffixTrie, ends: readonly number[], { nodes, depth }: DraftBudget): TokenTree | undefined {
    const at = ends.findIndex((node) => trie.hasMore(node));
    if (at < 0) return undefined;
    const agreed = trie.length(ends[at]);
    const most = Math.max(1, Math.floor(this.#factor * agreed));
    const budget = { nodes: Math.min(nodes, most), depth: Math.min(depth, most) };
    return growTree<Place>(this.#root, { trie, node: ends[at] }, budget, candidatesOf, 0.1);
  }

  // Of the text itself and the finished ones, what promises more.
  propose(budget: DraftBudget): TokenTree | undefined {
    if (!this.#backlog.advance()) return undefined;
    const worth = (tree: TokenTree | undefined) => tree?.reach.reduce((sum, reach) => sum + reach, 0) ?? 0;
    const own = this.#from(this.#own, this.#own.ends, budget);
    const past = this.#from(this.#past, this.#ends, budget);
    return worth(past) > worth(own) ? past : own;
  }

  observe({ tokens }: DraftOutcome): void {
    this.#backlog.push(tokens);
    this.#said.push(...tokens);
    this.#root = tokens[tokens.length - 1] ?? this.#root;
  }

  end(): void {
    this.#finish(this.#said);
  }
}

/**
 * SuffixDecoding (arXiv:2411.04975): the longest end of the text that was seen before, in the text or in what the model has said in
 * finished ones, grows a tree by how often each token followed. For services that say similar things again and again.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function suffix(options: SuffixOptions = {}): Drafter {
  const { depth = 24, remember = 16384, factor = 2 } = options;
  checkOptions(options, ["depth", "remember", "factor"]);
  checkInteger("depth", depth, 2, 64);
  checkInteger("remember", remember, 0, 2 ** 22);
  if (!(factor > 0 && factor < Number.POSITIVE_INFINITY)) throw badArgument("factor", "a positive number", factor);
  const memories = new WeakMap<DraftContext, Memory>();
  return {
    name: "suffix",
    start(tokens, context) {
      const memory = memories.get(context) ?? new Memory(depth, remember);
      memories.set(context, memory);
      return new SuffixSession(depth, memory.trie, tokens, factor, (said) => memory.add(said));
    },
  };
}
