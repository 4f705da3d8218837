// Proposes what the model found likely after a token the last time it was evaluated.

import { badArgument } from "../errors.ts";
import { TokenTree } from "../tree/token-tree.ts";
import type { DraftBudget, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";

/** Options of {@link recycle}. */
export interface RecycleOptions {
  /** Likely tokens that are kept for every token. @default 8 */
  width?: number;
}

const none = -1;
/** How sure the token of a rank is before anything is known about the text. */
const confidence = [0.4, 0.12, 0.06, 0.04, 0.03, 0.02, 0.015, 0.01];

/** The likeliest tokens after each token, of the last row that held it. */
export class Adjacency {
  readonly width: number;
  readonly #table: Int32Array;

  constructor(vocab: number, width: number) {
    this.width = width;
    this.#table = new Int32Array(vocab * width).fill(none);
  }

  /** The token of a rank after `token`; undefined if it was never seen. */
  get(token: number, rank: number): number | undefined {
    const found = this.#table[token * this.width + rank];
    return found === none ? undefined : found;
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

  constructor(table: Adjacency, root: number) {
    this.#table = table;
    this.#root = root;
  }

  // Best first: the open node of largest reach is taken, and offers its next sibling and its first child.
  propose({ nodes, depth: deepest }: DraftBudget): TokenTree | undefined {
    const token = [this.#root];
    const parent = [none];
    const depth = [0];
    const reach = [1];
    const open: { parent: number; rank: number; reach: number }[] = [];
    const offer = (above: number, rank: number) => {
      if (depth[above] >= deepest || rank >= this.#table.width) return;
      if (this.#table.get(token[above], rank) === undefined) return;
      open.push({ parent: above, rank, reach: reach[above] * (confidence[rank] ?? 0.01) });
    };
    offer(0, 0);
    while (token.length <= nodes && open.length > 0) {
      let best = 0;
      for (let i = 1; i < open.length; i++) if (open[i].reach > open[best].reach) best = i;
      const [taken] = open.splice(best, 1);
      token.push(this.#table.get(token[taken.parent], taken.rank) as number);
      parent.push(taken.parent);
      depth.push(depth[taken.parent] + 1);
      reach.push(taken.reach);
      offer(taken.parent, taken.rank + 1);
      offer(token.length - 1, 0);
    }
    return token.length > 1 ? new TokenTree({ token, parent, reach }) : undefined;
  }

  observe({ tokens, rows, best }: DraftOutcome): void {
    if (best) this.#table.update(rows.token, best);
    this.#root = tokens[tokens.length - 1] ?? this.#root;
  }
}

/**
 * Token Recycling (arXiv:2408.08696): after every step the likeliest tokens of each evaluated row, refused ones too, are kept under the
 * row's token; proposals are trees of them. All texts of a model share one table of `vocab * width` ids.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function recycle({ width = 8, ...unknown }: RecycleOptions = {}): Drafter {
  for (const key of Object.keys(unknown)) throw badArgument("options", "only width", key);
  if (!Number.isInteger(width) || width < 1 || width > 64) throw badArgument("width", "an integer from 1 to 64", width);
  const tables = new Map<number, Adjacency>(); // by vocabulary
  return {
    name: "recycle",
    best: width,
    start(tokens, vocab) {
      const table = tables.get(vocab) ?? new Adjacency(vocab, width);
      tables.set(vocab, table);
      return new RecycleSession(table, tokens[tokens.length - 1]);
    },
  };
}
