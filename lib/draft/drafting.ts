// The drafters of one text under the policy: proposals in, what came of them back, and the account of it.

import { badArgument } from "../errors.ts";
import { TokenTree } from "../tree/token-tree.ts";
import type { DraftBudget, DraftContext, Drafter, DraftOutcome, DraftSession } from "./drafter.ts";
import type { Experience } from "./experience.ts";
import { choose } from "./policy.ts";

/** Most rows of a step that the policy considers, the root included. */
const mostRows = 64;

/** What speculation did for a text. */
export interface SpeculationStats {
  /** Steps that evaluated drafted tokens. */
  steps: number;
  /** Tokens that were drafted and evaluated. */
  drafted: number;
  /** Of those, tokens that the text took. */
  accepted: number;
  /** Tokens that a step with drafts brought, its own included: 1 + accepted / steps; 1 without such steps. */
  meanAcceptedLength: number;
  /** Of the steps with a draft so deep: how often the token at depth 1, 2, ... was accepted. */
  acceptedAtDepth: number[];
  /** By drafter. A token that several proposed counts for each. */
  drafters: Record<string, { drafted: number; accepted: number; off?: string }>;
  /** Mean of the gains that the policy predicted, over all tokens: 1 is plain decoding. */
  predictedGain: number;
  /** Why nothing was drafted. */
  off?: string;
}

interface Part {
  drafter: Drafter;
  session: DraftSession | undefined;
  /** What it proposed for the step under way. */
  proposal: TokenTree | undefined;
  off: string | undefined;
}

/** Checks what a drafter returned: hostile until then. */
function checkProposal(tree: unknown, root: number, vocab: number): TokenTree {
  if (!(tree instanceof TokenTree)) throw badArgument("proposal", "a TokenTree", tree);
  if (tree.token[0] !== root) throw badArgument("proposal", `a tree for token ${root}`, tree.token[0]);
  const { token, parent, reach } = tree;
  return new TokenTree({ token, parent, reach }, vocab); // its columns may have been written to
}

/** Nodes up to a depth, and at most so many. */
function within(tree: TokenTree, { nodes, depth }: DraftBudget): TokenTree {
  const kept = Array.from({ length: tree.size }, (_, i) => i)
    .filter((i) => tree.depth[i] <= depth)
    .slice(0, nodes + 1);
  if (kept.length === tree.size) return tree;
  const place = new Int32Array(tree.size);
  for (const [i, node] of kept.entries()) place[node] = i;
  return new TokenTree({
    token: kept.map((i) => tree.token[i]),
    parent: kept.map((i) => (i === 0 ? -1 : place[tree.parent[i]])),
    reach: kept.map((i) => tree.reach[i]),
  });
}

/** All drafters at work on one text. */
export class Drafting {
  readonly #parts: Part[];
  readonly #experience: Experience;
  readonly #vocab: number;
  readonly #stats: SpeculationStats;
  readonly #reached: number[] = [];
  #root: number;
  #predicted = 0;
  #tokens = 0;
  #gain = 1;

  constructor(drafters: readonly Drafter[], experience: Experience, tokens: ArrayLike<number>, context: DraftContext) {
    this.#experience = experience;
    this.#vocab = context.vocab;
    this.#root = tokens[tokens.length - 1];
    this.#parts = drafters.map((drafter) => ({ drafter, session: undefined, proposal: undefined, off: undefined }));
    this.#stats = {
      steps: 0,
      drafted: 0,
      accepted: 0,
      meanAcceptedLength: 1,
      acceptedAtDepth: [],
      drafters: Object.fromEntries(drafters.map(({ name }) => [name, { drafted: 0, accepted: 0 }])),
      predictedGain: 1,
    };
    for (const part of this.#parts)
      this.#guard(part, () => {
        part.session = part.drafter.start(tokens, context);
      });
  }

  /** How many best ids of every row the drafters want. */
  get best(): number {
    return this.#parts.reduce(
      (most, { drafter, off }) => Math.max(most, off === undefined ? (drafter.best ?? 0) : 0),
      0,
    );
  }

  /** Runs a drafter's code; one that throws is out for the rest of the text. */
  #guard(part: Part, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#fail(part, error);
    }
  }

  #fail(part: Part, error: unknown): void {
    part.off = error instanceof Error ? error.message : String(error);
    part.proposal = undefined;
    this.#stats.drafters[part.drafter.name].off = part.off;
    process.emitWarning(`Drafter ${part.drafter.name} is switched off: ${part.off}`, "OutriderWarning");
  }

  /** The tree to evaluate next; undefined: decode plainly. */
  async propose(depth: number): Promise<TokenTree | undefined> {
    const budget = { nodes: mostRows - 1, depth };
    const { acceptance, curve, plain, host } = this.#experience;
    const proposals: TokenTree[] = [];
    for (const [i, part] of this.#parts.entries()) {
      part.proposal = undefined;
      if (part.off !== undefined || !part.session) continue;
      try {
        const found = part.session.propose(budget);
        const tree = found instanceof Promise ? await found : found;
        if (tree === undefined) continue;
        part.proposal = within(checkProposal(tree, this.#root, this.#vocab), budget);
        if (part.proposal.size > 1)
          proposals.push(acceptance.calibrate(part.drafter.name, part.proposal, 2 ** (i % 32)));
      } catch (error) {
        this.#fail(part, error);
      }
    }
    const { tree, gain } =
      plain === undefined ? { tree: undefined, gain: 1 } : choose(proposals, mostRows, curve, plain, host);
    this.#gain = gain;
    return tree;
  }

  /**
   * Tells the drafters what a step brought.
   * @param tree what was evaluated; undefined after plain decoding
   * @param accepted nodes of the walk, the root left out
   */
  observe(outcome: DraftOutcome, tree?: TokenTree, accepted: ArrayLike<number> = []): void {
    const { tokens } = outcome;
    if (tokens.length === 0) return;
    this.#root = tokens[tokens.length - 1];
    this.#predicted += this.#gain * tokens.length;
    this.#tokens += tokens.length;
    if (tree) this.#account(tree, accepted);
    for (const part of this.#parts) {
      if (part.off !== undefined || !part.session) continue;
      if (part.proposal) this.#experience.acceptance.observe(part.drafter.name, part.proposal, tokens);
      this.#guard(part, () => part.session?.observe(outcome));
    }
  }

  #account(tree: TokenTree, accepted: ArrayLike<number>): void {
    const stats = this.#stats;
    stats.steps += 1;
    stats.drafted += tree.size - 1;
    stats.accepted += accepted.length;
    const deepest = tree.depth.reduce((a, b) => Math.max(a, b), 0);
    for (let depth = 1; depth <= deepest; depth++) {
      this.#reached[depth - 1] = (this.#reached[depth - 1] ?? 0) + 1;
      const hit = depth <= accepted.length ? 1 : 0;
      stats.acceptedAtDepth[depth - 1] = (stats.acceptedAtDepth[depth - 1] ?? 0) + hit;
    }
    const taken = new Set(Array.from(accepted));
    for (const [i, { drafter }] of this.#parts.entries()) {
      const of = stats.drafters[drafter.name];
      for (let node = 1; node < tree.size; node++) {
        if ((tree.source[node] & (2 ** (i % 32))) === 0) continue;
        of.drafted += 1;
        if (taken.has(node)) of.accepted += 1;
      }
    }
  }

  /** Notes what a step took. @param rows of its tree, or 0 for plain decoding */
  time(rows: number, tokens: number, engineSeconds: number, hostSeconds: number): void {
    this.#experience.observe(rows, tokens, engineSeconds, hostSeconds);
  }

  /** Ends all sessions. */
  end(): void {
    for (const part of this.#parts) if (part.session?.end) this.#guard(part, () => part.session?.end?.());
  }

  get stats(): SpeculationStats {
    const { steps, accepted, drafters } = this.#stats;
    const off = Object.values(drafters).every((part) => part.off !== undefined)
      ? "every drafter failed"
      : steps === 0
        ? "no draft promised a gain"
        : undefined;
    return {
      ...structuredClone(this.#stats),
      meanAcceptedLength: steps > 0 ? 1 + accepted / steps : 1,
      acceptedAtDepth: this.#stats.acceptedAtDepth.map((hits, i) => hits / this.#reached[i]),
      predictedGain: this.#tokens > 0 ? this.#predicted / this.#tokens : 1,
      ...(off === undefined ? {} : { off }),
    };
  }
}
