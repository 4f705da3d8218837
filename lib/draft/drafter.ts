// What a drafter is: the interface for ours and for anybody's.

import type { TokenTree } from "../tree/token-tree.ts";

/** What decoding takes on this machine, in seconds, for drafters whose own work takes a while. */
export interface DraftCosts {
  /** A token without drafts. */
  token: number;
  /** A step that evaluates a tree of so many rows, the root included. */
  tree(rows: number): number;
}

/** How large a proposal may be. */
export interface DraftBudget {
  /** Nodes without the root. */
  nodes: number;
  /** Tokens between root and leaves. */
  depth: number;
  /** Absent until something was timed. */
  costs?: DraftCosts;
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

/** How a drafter copies from the text. */
export interface DraftCopies {
  /** Tokens that have to agree, 1 to 64. */
  least: number;
  /** Tokens that are copied at most, 1 to 255. */
  most: number;
  /**
   * How sure the next token is where so many last tokens have been in the text before, one after the other, and no more. Asked once for 0 to 64 tokens. 0: behind up to three tokens that were others than
   * those of the source of the last copy, unless that is 0; the token after it stands behind two that agree.
   */
  sure(matched: number): number;
}

/** A drafter at work on one text. */
export interface DraftSession {
  /**
   * Says that what is proposed is what came after the first place where most of the last tokens of the text, up to 64, occurred before, and nothing else. Alone under the
   * policy such a drafter is neither asked nor told of anything: decoding copies the same by itself, several steps a call.
   */
  readonly copies?: DraftCopies;
  /**
   * A tree whose root is the last token of the text, or nothing. `reach` of its nodes is the drafter's own estimate; the policy learns what
   * such estimates are worth, and evaluates the part of the tree that pays. Whatever is proposed, the text stays the model's own, unless
   * a call asks for `approximate`.
   */
  propose(budget: DraftBudget): TokenTree | undefined | Promise<TokenTree | undefined>;
  observe(outcome: DraftOutcome): void;
  /**
   * A tree of rows that are evaluated for what their best ids tell, beside what is drafted: nobody expects the text to go there, and what they cost is charged like the drafter's own
   * time. Asked after `propose`, for as many nodes as cost little.
   */
  explore?(budget: DraftBudget): TokenTree | undefined;
  /** The text is finished or given up. */
  end?(): void;
}

/** The model that a drafter works for: one object for all its texts, so that what is shared between them can be kept under it. */
export interface DraftContext {
  /** Token ids are below it. */
  vocab: number;
  /** Layers of the model. */
  layers: number;
  /** Tells models apart, from one process to the next: digits and letters. */
  fingerprint: string;
  /** Text to token ids, as the model has them. */
  encode(text: string): Int32Array;
  /** Bytes that a token stands for; none for an id that no token has. */
  bytesOf(id: number): Uint8Array;
}

/**
 * How the tokens of a text are drawn, options as in `SamplingOptions`. The noise of a draw depends on seed, position and token alone: who draws from
 * a law like the model's, by the same options, at the same position, mostly draws what the model will (shared noise, a Gumbel coupling).
 */
export interface DraftSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  penaltyWindow: number;
  logitBias: ReadonlyMap<number, number>;
  seed: bigint;
  minTokens: number;
  stopTokens: readonly number[];
  ignoreEos: boolean;
  /** Tokens that end a text. */
  endIds: readonly number[];
}

/** Makes proposals for any number of texts. */
export interface Drafter {
  /** Names it in statistics. */
  readonly name: string;
  /** Tells drafters of one name apart in what is learnt about them. @default the name */
  readonly kind?: string;
  /** How many best ids of every evaluated row it wants to see. @default 0 */
  readonly best?: number;
  /** Awaited before a text is begun. What it throws is what the call rejects with: the place to refuse a model that it cannot work for. */
  prepare?(context: DraftContext): void | Promise<void>;
  /**
   * Starts on a text.
   * @param tokens the text so far; the last token is the first root
   * @param self the model at work on the text, for drafters of outrider's own
   */
  start(tokens: ArrayLike<number>, context: DraftContext, sampling: DraftSampling, self?: unknown): DraftSession;
}

/** A drafter that learns from texts, for itself or in a folder. Of processes that share a folder, the last to write is the one that is read. */
export interface LearningDrafter extends Drafter {
  /**
   * Writes what was learnt since the last time, if there is a folder. This also happens by itself two seconds after a text has ended, but a process that ends
   * before that has to call it.
   */
  save(): Promise<void>;
}
