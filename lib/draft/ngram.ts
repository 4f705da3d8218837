// Drafts from counts of short runs: what mostly followed the last one to three tokens.

import { badArgument, checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { Backlog } from "./backlog.ts";
import { checkInteger } from "./check-integer.ts";
import { checkCorpus } from "./corpus.ts";
import { CountedText, type Ends, endsAfter } from "./counted-text.ts";
import type { DraftBudget, DraftOutcome, DraftSession, LearningDrafter } from "./drafter.ts";
import { type Candidate, growTree } from "./grow-tree.ts";
import { checkFolder, Keep } from "./keep.ts";
import { Memory } from "./memory.ts";
import { SuffixTrie } from "./suffix-trie.ts";

/** Options of {@link ngram}. */
export interface NgramOptions {
  /** Tokens of the longest run that is counted, the one that follows included. @default 4 */
  n?: number;
  /** A text whose runs count too, for all texts of the model, as token ids: `model.tokenize(text)`. @default none */
  corpus?: ArrayLike<number>;
  /** Tokens of finished texts that are remembered for those to come; 0: none. @default 65536 */
  remember?: number;
  /**
   * Weight of candidates that were seen once or twice, from 0 on: they are tried earlier than their counts say (the exploration of ADED,
   * arXiv:2407.12021). @default 0
   */
  explore?: number;
  /** Where what each model said is kept for the next process. @default nowhere */
  folder?: string;
}

/** Candidates of one place that are considered. */
const mostCandidates = 8;

/** One level of counts, and where a text ends in it. */
interface Level extends Ends {
  /** How much a count of this level is worth. */
  weight: number;
}

/**
 * What follows, by the longest run that was followed by anything in each level; levels add up. Shares are those of all occurrences, in the
 * text itself with the present one, which nothing has followed yet: so a run that was seen once before is half sure.
 */
function candidatesOf(levels: readonly Level[], explore: number): Candidate<readonly Level[]>[] {
  const counts = new Map<number, number>();
  let total = 0;
  // Runs of the same length are compared across levels: the text's own, then what is remembered, then the corpus.
  for (const { trie, ends, weight } of levels) {
    const longest = ends.find((node) => trie.hasMore(node));
    if (longest === undefined) continue;
    total += weight * trie.count(longest);
    for (const { token, count } of trie.continuations(longest, mostCandidates)) {
      const worth = weight * (count + (explore > 0 ? explore / (1 + count) : 0));
      counts.set(token, (counts.get(token) ?? 0) + worth);
    }
  }
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, mostCandidates)
    .map(([token, count]) => ({
      token,
      share: Math.min(1, count / (total + 0.25)),
      state: () => endsAfter(levels, token),
    }));
}

/** Tokens that are indexed before a proposal. */
const slice = 1024;

/** What a count is worth: of the text itself, of what is remembered, of the corpus. */
const weights = [1, 0.5, 0.25];

class NgramSession implements DraftSession {
  readonly #text: CountedText;
  readonly #explore: number;
  readonly #reading: Backlog; // of the corpus, which all texts read on
  readonly #memory: Memory;
  readonly #ended: () => unknown;

  constructor(text: CountedText, explore: number, reading: Backlog, memory: Memory, ended: () => unknown) {
    this.#ended = ended;
    this.#text = text;
    this.#explore = explore;
    this.#reading = reading;
    this.#memory = memory;
  }

  propose(budget: DraftBudget): TokenTree | undefined {
    this.#reading.advance();
    const levels = this.#text.ends()?.map((ends, i) => ({ ...ends, weight: weights[i] }));
    const candidates = (state: readonly Level[]) => candidatesOf(state, this.#explore);
    return levels && growTree<readonly Level[]>(this.#text.root, levels, budget, candidates, 0.01);
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
 * Drafts trees from counts of runs of up to `n` tokens: in the text, in texts that the model has finished, and in a corpus (n-gram caches;
 * with `n: 3` the tri-gram model of ADED, arXiv:2407.12021, expanded best-first instead of by random walks).
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function ngram(options: NgramOptions = {}): LearningDrafter {
  const { n = 4, corpus = [], remember = 65536, explore = 0, folder } = options;
  checkOptions(options, ["n", "corpus", "remember", "explore", "folder"]);
  checkInteger("n", n, 2, 16);
  checkInteger("remember", remember, 0, 2 ** 24);
  if (!(explore >= 0 && explore < Number.POSITIVE_INFINITY))
    throw badArgument("explore", "a number from 0 on", explore);
  checkCorpus(corpus);
  const corpusTrie = new SuffixTrie(n);
  const reading = new Backlog(corpus, (token) => corpusTrie.append(token), slice);
  checkFolder(folder);
  const memories = new Keep(folder, `ngram-${n}`, ({ vocab }) => new Memory(vocab, n, remember));
  return {
    name: "ngram",
    prepare: (context) => memories.read(context),
    start(tokens, context) {
      const memory = memories.of(context);
      const text = new CountedText(tokens, n, [memory.trie, corpusTrie], slice);
      return new NgramSession(text, explore, reading, memory, () => remember > 0 && memories.changed(context));
    },
    save: () => memories.save(),
  };
}
