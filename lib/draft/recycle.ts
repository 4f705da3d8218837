// Proposes what the model found likely after a token the last time it was evaluated.

import { checkOptions } from "../errors.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { checkInteger } from "./check-integer.ts";
import type { DraftBudget, DraftOutcome, DraftSession, LearningDrafter } from "./drafter.ts";
import { type Candidate, growTree } from "./grow-tree.ts";
import { checkFolder, Keep, type Learnt } from "./keep.ts";

/** Options of {@link recycle}. */
export interface RecycleOptions {
  /** Likely tokens that are kept for every token. @default 8 */
  width?: number;
  /** Where the table of each model is kept for the next process. @default nowhere */
  folder?: string;
}

const none = -1;
/** How sure the token of a rank is before anything is known about the text. */
const confidence = [0.4, 0.12, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01];

/** The likeliest tokens after each token, of the last row that held it. */
export class Adjacency implements Learnt {
  readonly width: number;
  readonly #vocab: number;
  readonly #table: Int32Array;

  constructor(vocab: number, width: number) {
    this.width = width;
    this.#vocab = vocab;
    this.#table = new Int32Array(vocab * width).fill(none);
  }

  /** What was likely after `token`; nothing if it was never seen. */
  after(token: number): Candidate<number>[] {
    const found: Candidate<number>[] = [];
    for (let rank = 0; rank < this.width; rank++) {
      const next = this.#table[token * this.width + rank];
      if (next === none) break;
      found.push({ token: next, share: confidence[rank] ?? 0.01, state: () => next });
    }
    return found;
  }

  toInts(): Int32Array {
    return this.#table.slice();
  }

  fromInts(ints: Int32Array): boolean {
    if (ints.length !== this.#table.length || ints.some((id) => id < none || id >= this.#vocab)) return false;
    this.#table.set(ints);
    return true;
  }

  /** Notes the likeliest tokens of evaluated rows; of equal tokens the last row counts. */
  update(tokens: Int32Array, best: Int32Array): void {
    const { width } = this;
    for (const [row, token] of tokens.entries())
      this.#table.set(best.subarray(row * width, (row + 1) * width), token * width);
  }
}

class RecycleSession implements DraftSession {
  readonly #table: Adjacency;
  #root: number;
  readonly end: () => void;

  constructor(table: Adjacency, root: number, ended: () => void) {
    this.#table = table;
    this.#root = root;
    this.end = ended;
  }

  propose(budget: DraftBudget): TokenTree | undefined {
    return growTree(this.#root, this.#root, budget, (token) => this.#table.after(token));
  }

  observe({ tokens, rows, best }: DraftOutcome): void {
    if (best) this.#table.update(rows.token, best);
    this.#root = tokens[tokens.length - 1] ?? this.#root;
  }
}

/**
 * Token Recycling (arXiv:2408.08696): after every step the likeliest tokens of each evaluated row, refused ones too, are kept under the
 * row's token; proposals are trees of them. All texts of a model share one table of `vocab * width` ids, and with `folder` all processes.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function recycle(options: RecycleOptions = {}): LearningDrafter {
  checkOptions(options, ["width", "folder"]);
  const { width = 8, folder } = options;
  checkInteger("width", width, 1, 64);
  checkFolder(folder);
  const tables = new Keep(folder, `recycle-${width}`, ({ vocab }) => new Adjacency(vocab, width));
  return {
    name: "recycle",
    best: width,
    prepare: (context) => tables.read(context),
    start: (tokens, context) =>
      new RecycleSession(tables.of(context), tokens[tokens.length - 1], () => tables.changed(context)),
    save: () => tables.save(),
  };
}
