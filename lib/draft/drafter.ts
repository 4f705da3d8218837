// What a drafter is: the interface for ours and for anybody's.

import type { TokenTree } from "../tree/token-tree.ts";

/** How large a proposal may be. */
export interface DraftBudget {
  /** Nodes without the root. */
  nodes: number;
  /** Tokens between root and leaves. */
  depth: number;
}

/** What came of a step, also of one without a proposal. */
export interface DraftOutcome {
  /** Tokens that the text has grown by, the last of them the root of the next step. */
  tokens: Int32Array;
  /** The rows that were evaluated: their tokens, and parents among them; -1 for the root. */
  rows: { token: Int32Array; parent: Int32Array };
  /** Ids of the `best` largest logits of every row, falling; for drafters that ask for them. */
  best?: Int32Array;
}

/** A drafter at work on one text. */
export interface DraftSession {
  /**
   * A tree whose root is the last token of the text, or nothing. `reach` of its nodes is the drafter's own estimate; the policy learns what
   * such estimates are worth, and evaluates the part of the tree that pays. Whatever is proposed, the text stays the model's own.
   */
  propose(budget: DraftBudget): TokenTree | undefined | Promise<TokenTree | undefined>;
  observe(outcome: DraftOutcome): void;
  /** The text is finished or given up. */
  end?(): void;
}

/** The model that a drafter works for: one object for all its texts, so that what is shared between them can be kept under it. */
export interface DraftContext {
  /** Token ids are below it. */
  vocab: number;
  /** Text to token ids, as the model has them. */
  encode(text: string): Int32Array;
}

/** Makes proposals for any number of texts. */
export interface Drafter {
  /** Names it in statistics. */
  readonly name: string;
  /** How many best ids of every evaluated row it wants to see. @default 0 */
  readonly best?: number;
  /**
   * Starts on a text.
   * @param tokens the text so far; the last token is the first root
   */
  start(tokens: ArrayLike<number>, context: DraftContext): DraftSession;
}
