// One drafter at work on one text. Whatever it does, it gets copies, its errors end here, and what it returns is checked.

import { badArgument } from "../errors.ts";
import { prune, shallow } from "../tree/build.ts";
import { TokenTree } from "../tree/token-tree.ts";
import { checkInteger } from "./check-integer.ts";
import type { DraftBudget, DraftContext, Drafter, DraftOutcome, DraftSampling, DraftSession } from "./drafter.ts";
import { Trust } from "./trust.ts";
import { unlessAborted } from "./unless-aborted.ts";

/** Longest repetition that is told apart from longer ones. */
export const longestRun = 64;

/** The tree that a drafter returned, checked and copied: its columns may have been written to, and may be later. */
function checked(found: unknown, root: number, vocab: number, { nodes, depth }: DraftBudget): TokenTree {
  if (!(found instanceof TokenTree)) throw badArgument("proposal", "a TokenTree", found);
  if (found.token[0] !== root) throw badArgument("proposal", `a tree for token ${root}`, found.token[0]);
  const tree = new TokenTree({ token: found.token, parent: found.parent, reach: found.reach }, vocab);
  return prune(shallow(tree, depth), nodes + 1);
}

function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return String(error.message); // which may be anything, a getter that throws included
  } catch {}
  return typeof error === "string" ? error : "it threw something that is no Error";
}

/** What a drafter is told of the sampling: copies, since what it writes to must not come back. */
function copyOf(sampling: DraftSampling): DraftSampling {
  const { temperature, topK, topP, minP, typicalP, repetitionPenalty, frequencyPenalty, presencePenalty } = sampling;
  const { penaltyWindow, logitBias, seed, minTokens, stopTokens, ignoreEos, endIds } = sampling;
  return {
    ...{ temperature, topK, topP, minP, typicalP, repetitionPenalty, frequencyPenalty, presencePenalty },
    ...{ penaltyWindow, seed, minTokens, ignoreEos },
    logitBias: new Map(logitBias),
    stopTokens: [...stopTokens],
    endIds: [...endIds],
  };
}

/** A drafter with its session, until it misbehaves. */
export class Part {
  readonly name: string;
  /** What it is called in what the policy learns. */
  readonly kind: string;
  /** How right it is in this text. */
  readonly trust = new Trust();
  /** Best ids of every row that it wants. */
  readonly best: number;
  /** How it copies, and how sure it is of the next token by how many last ones are a repetition; undefined: it may propose anything. */
  readonly copies: { least: number; most: number; sure: Float64Array } | undefined;
  /** What it proposed for the step under way. */
  proposal: TokenTree | undefined;
  /** Why it was switched off. */
  off: string | undefined;
  /** Seconds spent in its code, and of them those that a proposal was waited for. */
  seconds = 0;
  waited = 0;
  #asked = 0;
  #session: DraftSession | undefined;
  #ended = false; // what fails from then on concerns nobody

  constructor(
    drafter: Drafter,
    tokens: ArrayLike<number>,
    context: DraftContext,
    sampling: DraftSampling,
    self?: unknown,
  ) {
    this.name = drafter.name;
    this.kind = String(drafter.kind ?? drafter.name);
    this.best = drafter.best ?? 0;
    this.#run(() => {
      const session: unknown = drafter.start(Int32Array.from(tokens), context, copyOf(sampling), self);
      if (session instanceof Promise) return session.then(() => this.#fail(badArgument("start", "a session", session)));
      this.#session = session as DraftSession;
    });
    let copies: Part["copies"];
    this.#run(() => {
      const said = this.#session?.copies;
      if (said === undefined) return;
      const { least, most } = said;
      const sure = Float64Array.from({ length: longestRun + 1 }, (_, matched) => said.sure(matched));
      checkInteger("copies.least", least, 1, longestRun);
      checkInteger("copies.most", most, 1, 255);
      if (!sure.every((one) => one >= 0 && one <= 1))
        throw badArgument("copies.sure", "probabilities", sure.join(", "));
      copies = { least, most, sure };
    });
    this.copies = copies;
  }

  /** Runs code of the drafter; a promise that it leaves behind may fail too. */
  #run(action: () => unknown): void {
    const started = performance.now();
    try {
      const left = action();
      if (left instanceof Promise) left.catch((error: unknown) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
    }
    this.seconds += (performance.now() - started) / 1e3;
  }

  #fail(error: unknown): void {
    this.proposal = undefined;
    if (this.off !== undefined || this.#ended) return;
    this.off = messageOf(error);
    process.emitWarning(`Drafter ${this.name} is switched off: ${this.off}`, "OutriderWarning");
  }

  /**
   * Asks for a proposal and keeps it.
   * @throws the reason of the signal, if it is aborted while the drafter thinks
   */
  async propose(root: number, vocab: number, budget: DraftBudget, signal?: AbortSignal): Promise<void> {
    this.proposal = undefined;
    const session = this.#session;
    if (this.off !== undefined || !session) return;
    let found: unknown;
    this.#asked += 1;
    this.#run(() => {
      found = session.propose({ ...budget });
    });
    if (found instanceof Promise) {
      const started = performance.now();
      const settled = found.catch((error: unknown) => this.#fail(error));
      found = await (signal ? unlessAborted(settled, signal) : settled);
      const waited = (performance.now() - started) / 1e3;
      this.seconds += waited;
      this.waited += waited;
    }
    if (this.off !== undefined || found === undefined) return;
    try {
      const tree = checked(found, root, vocab, budget);
      if (tree.size > 1) this.proposal = tree;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Rows that it wants to see evaluated, reaches 0: nobody expects the text to go there. */
  explore(root: number, vocab: number, budget: DraftBudget): TokenTree | undefined {
    const session = this.#session;
    if (this.off !== undefined || !session?.explore) return undefined;
    let tree: TokenTree | undefined;
    this.#run(() => {
      const found: unknown = session.explore?.({ ...budget });
      if (found === undefined) return;
      if (found instanceof Promise) found.catch(() => {}); // refused below, whatever comes of it
      const { token, parent, size } = checked(found, root, vocab, budget);
      if (size > 1) tree = new TokenTree({ token, parent, reach: new Float32Array(size).fill(1, 0, 1) });
    });
    return tree;
  }

  /** Whether it may want to see rows evaluated. */
  get explores(): boolean {
    return this.off === undefined && this.#session?.explore !== undefined;
  }

  /** It is not asked for this step. */
  pass(): void {
    this.proposal = undefined;
  }

  /** Seconds that asking takes, with what is learnt between. */
  get meanSeconds(): number {
    return this.#asked > 0 ? this.seconds / this.#asked : 0;
  }

  /** @param width best ids of a row in the outcome */
  observe({ tokens, rows, best }: DraftOutcome, width: number): void {
    this.proposal = undefined;
    const session = this.#session;
    if (this.off !== undefined || !session) return;
    const outcome: DraftOutcome = {
      tokens: tokens.slice(),
      rows: { token: rows.token.slice(), parent: rows.parent.slice() },
    };
    if (best && this.best > 0) outcome.best = best.filter((_, i) => i % width < this.best);
    this.#run(() => session.observe(outcome));
  }

  end(): void {
    const session = this.#session;
    this.#session = undefined;
    this.#ended = true;
    if (session) this.#run(() => session.end?.());
  }
}
