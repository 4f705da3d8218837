// Drafts from everything that was said before, in this text and in finished ones.

import { badArgument, checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { checkInteger } from "./check-integer.ts";
import { CountedText, type Ends } from "./counted-text.ts";
import type { DraftBudget, DraftOutcome, DraftSession, LearningDrafter } from "./drafter.ts";
import { type Candidate, growTree } from "./grow-tree.ts";
import { checkFolder, Keep } from "./keep.ts";
import { Memory } from "./memory.ts";
import type { SuffixTrie } from "./suffix-trie.ts";

/** Options of {@link suffix}. */
export interface SuffixOptions {
  /** Longest run that is looked up. @default 24 */
  depth?: number;
  /** Tokens of finished texts that are remembered, at up to 1 KiB each. @default 16384 */
  remember?: number;
  /** Drafted tokens for each token that agrees. @default 2 */
  factor?: number;
  /** Where what each model said is kept for the next process. @default nowhere */
  folder?: string;
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
  readonly #text: CountedText;
  readonly #memory: Memory;
  readonly #factor: number;
  readonly #ended: () => unknown;

  constructor(text: CountedText, memory: Memory, factor: number, ended: () => unknown) {
    this.#text = text;
    this.#ended = ended;
    this.#memory = memory;
    this.#factor = factor;
  }

  /** A tree from one trie, as deep as what agrees allows. */
  #from({ trie, ends }: Ends, { nodes, depth }: DraftBudget): TokenTree | undefined {
    const node = ends.find((end) => trie.hasMore(end));
    if (node === undefined) return undefined;
    const most = Math.max(1, Math.floor(this.#factor * trie.length(node)));
    const budget = { nodes: Math.min(nodes, most), depth: Math.min(depth, most) };
    return growTree<Place>(this.#text.root, { trie, node }, budget, candidatesOf, 0.1);
  }

  // Of the text itself and the finished ones, what promises more.
  propose(budget: DraftBudget): TokenTree | undefined {
    const worth = (tree: TokenTree | undefined) => tree?.reach.reduce((sum, reach) => sum + reach, 0) ?? 0;
    const trees = this.#text.ends()?.map((ends) => this.#from(ends, budget));
    return trees?.reduce((best, tree) => (worth(tree) > worth(best) ? tree : best));
  }

  observe(outcome: DraftOutcome): void {
    this.#text.push(outcome);
  }

  end(): void {
    this.#memory.add(this.#text.said);
    this.#ended();
  }
}

/**
 * SuffixDecoding (arXiv:2411.04975): the longest end of the text that was seen before, in the text or in what the model has said in
 * finished ones, grows a tree by how often each token followed. For services that say similar things again and again.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function suffix(options: SuffixOptions = {}): LearningDrafter {
  const { depth = 24, remember = 16384, factor = 2, folder } = options;
  checkOptions(options, ["depth", "remember", "factor", "folder"]);
  checkInteger("depth", depth, 2, 64);
  checkInteger("remember", remember, 0, 2 ** 22);
  if (!(factor > 0 && factor < Number.POSITIVE_INFINITY)) throw badArgument("factor", "a positive number", factor);
  checkFolder(folder);
  const memories = new Keep(folder, `suffix-${depth}`, ({ vocab }) => new Memory(vocab, depth, remember));
  return {
    name: "suffix",
    prepare: (context) => memories.read(context),
    start(tokens, context) {
      const memory = memories.of(context);
      const text = new CountedText(tokens, depth, [memory.trie], slice);
      return new SuffixSession(text, memory, factor, () => remember > 0 && memories.changed(context));
    },
    save: () => memories.save(),
  };
}
