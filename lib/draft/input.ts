// Drafts from a text that the caller says is being edited.

import { badArgument, checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { checkInteger } from "./check-integer.ts";
import type { DraftBudget, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";
import { PerModel } from "./per-model.ts";
import { run } from "./run.ts";

/** Options of {@link input}. */
export interface InputOptions {
  /** The text that the output follows: a document to edit, correct or repeat. Text or token ids. */
  source: string | ArrayLike<number>;
  /** Tokens that are drafted at most. @default 64 */
  maxTokens?: number;
  /** How far from where it was left the source is searched for what is said now, in tokens. @default 512 */
  window?: number;
}

/** Tokens that are compared to find the place in the source, at most. */
const mostCompared = 5;

/** How sure the next token of the source is, by the number of tokens in a row that agreed. */
function confidence(agreed: number): number {
  if (agreed >= 8) return 0.95;
  if (agreed >= 5) return 0.85;
  return [0.4, 0.55, 0.65, 0.75, 0.75][agreed];
}

/** A place in a source that follows a text. */
export class SourcePointer {
  readonly #source: Int32Array;
  readonly #window: number;
  readonly #places = new Map<number, number[]>(); // by token
  readonly #said: number[] = [];
  /** The next token of the source, if it is known where the text is. */
  next: number | undefined = 0;
  /** Tokens in a row that agreed before it. */
  agreed = 0;
  #left = 0; // where it was lost

  constructor(source: Int32Array, window: number) {
    this.#source = source;
    this.#window = window;
    for (const [at, token] of source.entries()) {
      const places = this.#places.get(token);
      if (places) places.push(at);
      else this.#places.set(token, [at]);
    }
  }

  /** Follows one more token of the text. */
  follow(token: number): void {
    this.#said.push(token);
    if (this.#said.length > mostCompared) this.#said.shift();
    if (this.next !== undefined && this.#source[this.next] === token) {
      this.next += 1;
      this.agreed += 1;
      return;
    }
    if (this.next !== undefined) this.#left = this.next;
    this.next = this.#find();
    if (this.next !== undefined) this.agreed = 1;
    else this.agreed = 0;
  }

  /**
   * The one place near where the source was left that ends like the text: with one token if that is enough, else with more. Of places that
   * cannot be told apart the nearest one behind where it was left.
   */
  #find(): number | undefined {
    const last = this.#said[this.#said.length - 1];
    let places = (this.#places.get(last) ?? []).filter((at) => Math.abs(at - this.#left) <= this.#window);
    for (let compared = 2; places.length > 1 && compared <= this.#said.length; compared++) {
      const token = this.#said[this.#said.length - compared];
      const longer = places.filter((at) => this.#source[at - compared + 1] === token);
      if (longer.length === 0) break;
      places = longer;
    }
    if (places.length === 0) return undefined;
    const distance = (at: number) => (at >= this.#left ? at - this.#left : this.#left - at + this.#window);
    return places.reduce((a, b) => (distance(b) < distance(a) ? b : a)) + 1;
  }

  /** Up to `count` tokens of the source from here on. */
  ahead(count: number): Int32Array {
    return this.next === undefined ? new Int32Array() : this.#source.subarray(this.next, this.next + count);
  }
}

class InputSession implements DraftSession {
  readonly #pointer: SourcePointer;
  readonly #maxTokens: number;
  #root: number;

  constructor(pointer: SourcePointer, root: number, maxTokens: number) {
    this.#pointer = pointer;
    this.#root = root;
    this.#maxTokens = maxTokens;
  }

  propose({ nodes, depth }: DraftBudget): TokenTree | undefined {
    const tokens = this.#pointer.ahead(Math.min(nodes, depth, this.#maxTokens));
    if (tokens.length === 0) return undefined;
    return run(this.#root, tokens, this.#pointer.agreed, confidence);
  }

  observe({ tokens }: DraftOutcome): void {
    for (const token of tokens) this.#pointer.follow(token);
    this.#root = tokens[tokens.length - 1] ?? this.#root;
  }
}

/**
 * Input-guided aggressive decoding (arXiv:2106.04970) for decoder models: the output is expected to follow a source. Where it leaves it, the
 * place is found again from the last one to five tokens, near where it was left; so insertions, deletions and replacements cost a
 * few tokens each.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 * @example await model.generate(`Correct the spelling:\n${text}`, { draft: input({ source: text }) });
 */
export function input(options: InputOptions): Drafter {
  const { source, maxTokens = 64, window = 512 } = options ?? {};
  checkOptions(options ?? {}, ["source", "maxTokens", "window"]);
  if (typeof source !== "string" && !(typeof source === "object" && source !== null && Number.isInteger(source.length)))
    throw badArgument("source", "a string, or an array or typed array of token ids", source);
  checkInteger("maxTokens", maxTokens, 1, 255);
  checkInteger("window", window, 1, 2 ** 31 - 1);
  // Tokenised once for a model.
  const sources = new PerModel((context) =>
    typeof source === "string" ? context.encode(source) : Int32Array.from(source),
  );
  return {
    name: "input",
    start(tokens, context) {
      return new InputSession(new SourcePointer(sources.of(context), window), tokens[tokens.length - 1], maxTokens);
    },
  };
}
