// Proposes runs that the model itself has guessed beside its text: Jacobi iteration over a window of tokens to come.

import { checkOptions } from "../errors.ts";
import { TokenTree } from "../tree/token-tree.ts";
import { checkInteger } from "./check-integer.ts";
import type { DraftBudget, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";
import { type Candidate, growTree } from "./grow-tree.ts";
import { JacobiWindow } from "./jacobi-window.ts";
import { PerModel } from "./per-model.ts";
import { RunPool } from "./run-pool.ts";

/** Options of {@link lookahead}; letters as in the paper. */
export interface LookaheadOptions {
  /** Columns of the window, W: tokens to come that are guessed at once; fewer where rows are dear. @default 5 */
  window?: number;
  /** Tokens of a run with the one that it follows, N; the window has N - 1 levels. @default 4 */
  length?: number;
  /** Runs that are kept after each token, G: the newest. @default 5 */
  guesses?: number;
}

/** Runs with their first tokens said already: what is left of them, newest first. */
interface Left {
  runs: readonly Int32Array[];
  at: number;
}

/** What may come next: a token is as likely as the share of runs that have it, one more counted that has another. */
function nextOf({ runs, at }: Left): Candidate<Left>[] {
  const byToken = new Map<number, Int32Array[]>();
  for (const run of runs) if (at < run.length) byToken.set(run[at], [...(byToken.get(run[at]) ?? []), run]);
  const found = [...byToken].sort(([, a], [, b]) => b.length - a.length);
  return found.map(([token, those]) => ({
    token,
    share: those.length / (runs.length + 1),
    state: () => ({ runs: those, at: at + 1 }),
  }));
}

class LookaheadSession implements DraftSession {
  readonly #pool: RunPool;
  readonly #window: JacobiWindow;
  #root: number;

  constructor(pool: RunPool, window: JacobiWindow, root: number) {
    this.#pool = pool;
    this.#window = window;
    this.#root = root;
  }

  propose(budget: DraftBudget): TokenTree | undefined {
    const start = { runs: this.#pool.after(this.#root), at: 0 };
    return growTree(this.#root, start, budget, nextOf);
  }

  explore({ nodes, depth }: DraftBudget): TokenTree | undefined {
    const found = this.#window.rows(this.#root, nodes, depth);
    return found && new TokenTree(found);
  }

  observe({ tokens, rows, best }: DraftOutcome): void {
    if (best) for (const [token, run] of this.#window.advance(rows, best)) this.#pool.add(token, run);
    this.#root = tokens[tokens.length - 1] ?? this.#root;
  }
}

/**
 * Lookahead decoding (arXiv:2402.02057): beside the text, the model evaluates a window of guesses for the tokens to come, each from the guesses
 * before it; runs that it says there are kept under the token that they follow, for all texts of a model, and proposed when it comes. The window takes `window * (length - 1)` rows a
 * step, which pays where rows cost next to nothing, as on a GPU. Where they are dear the window is made small and rarely looked at.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function lookahead(options: LookaheadOptions = {}): Drafter {
  checkOptions(options, ["window", "length", "guesses"]);
  const { window = 5, length = 4, guesses = 5 } = options;
  checkInteger("window", window, 1, 32);
  checkInteger("length", length, 2, 16);
  checkInteger("guesses", guesses, 1, 32);
  const pools = new PerModel(() => new RunPool(guesses));
  return {
    name: "lookahead",
    kind: `lookahead-${window}-${length}-${guesses}`,
    best: 1,
    start(tokens, context) {
      return new LookaheadSession(
        pools.of(context),
        new JacobiWindow(tokens, window, length - 1),
        tokens[tokens.length - 1],
      );
    },
  };
}
