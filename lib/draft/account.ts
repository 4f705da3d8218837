// What drafting did for a text: the numbers of stats.speculation.

import type { TokenTree } from "../tree/token-tree.ts";
import type { Part } from "./part.ts";

/** Rules by which a text takes drafted tokens that were not drawn. */
export type ApproximateRule = "typical" | "relaxed";

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
  /** By drafter. A token that several proposed counts for each. `off`: why it was switched off. */
  drafters: Record<string, { drafted: number; accepted: number; off?: string }>;
  /** Mean of the gains that the policy predicted, over all tokens: 1 is plain decoding. */
  predictedGain: number;
  /** Tokens that the text took by a rule though they were not drawn; absent where the text is exact. */
  approximate?: { rule: ApproximateRule; tokens: number };
  /**
   * Tokens a second over those of plain decoding as it was last measured on this machine, drafters and calls included, from the second token on; absent before it
   * was, and where other calls took turns with this text.
   */
  measuredGain?: number;
  /** Milliseconds in drafters. */
  draftMs: number;
  /** Milliseconds of the engine in steps that evaluated a tree. */
  verifyMs: number;
  /** Milliseconds of the engine in steps that decoded plainly. */
  plainMs: number;
  /** Why nothing was drafted, or is not any more. */
  off?: string;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Sums over the steps of a text. */
export class Account {
  #steps = 0;
  #drafted = 0;
  #accepted = 0;
  #predicted = 0;
  #tokens = 0;
  readonly #reached: number[] = []; // by depth: steps with a draft so deep
  readonly #hits: number[] = [];
  readonly #byPart = new Map<Part, { drafted: number; accepted: number }>();
  #verify = 0; // seconds
  #plain = 0;
  #host = 0;
  #timed = 0; // tokens of the steps that were timed
  #crowded = false; // others used the engine
  #last = 0; // tokens that the last step took from its draft
  readonly #rule: ApproximateRule | undefined;
  #byRule = 0;
  #lastByRule: readonly number[] = []; // for each token of the last step

  constructor(rule?: ApproximateRule) {
    this.#rule = rule;
  }

  /** Notes tokens that a step brought, and the gain that was predicted for it. @param byRule 1 for those that were accepted by rule, not drawn */
  tokens(count: number, gain: number, byRule: ArrayLike<number> = []): void {
    this.#tokens += count;
    this.#predicted += count * gain;
    this.#last = 0;
    this.#lastByRule = Array.from(byRule);
    this.#byRule += sum(this.#lastByRule);
  }

  /**
   * Notes a tree that was evaluated; bit i of a node's source stands for part i. Nodes of no part were not drafted, unless the text took them.
   * @param accepted nodes, the root left out
   */
  tree(tree: TokenTree, accepted: ArrayLike<number>, parts: readonly Part[]): void {
    const taken = new Set(Array.from(accepted));
    const drafted = Array.from(tree.source.keys()).filter((node) => tree.source[node] !== 0 || taken.has(node));
    if (drafted.length === 0) return;
    const deepest = drafted.reduce((most, node) => Math.max(most, tree.depth[node]), 0);
    this.#step(drafted.length, deepest, accepted.length);
    for (const [i, part] of parts.entries()) {
      const of = this.#of(part);
      for (let node = 1; node < tree.size; node++) {
        if ((tree.source[node] & (2 ** i)) === 0) continue;
        of.drafted += 1;
        if (taken.has(node)) of.accepted += 1;
      }
    }
  }

  /** Notes a run of tokens that was evaluated for one part, and how many of them the text took. */
  run(drafted: number, accepted: number, part: Part): void {
    this.#step(drafted, drafted, accepted);
    const of = this.#of(part);
    of.drafted += drafted;
    of.accepted += accepted;
  }

  #step(drafted: number, deepest: number, accepted: number): void {
    this.#steps += 1;
    this.#drafted += drafted;
    this.#accepted += accepted;
    this.#last = accepted;
    for (let depth = 0; depth < deepest; depth++) {
      this.#reached[depth] = (this.#reached[depth] ?? 0) + 1;
      this.#hits[depth] = (this.#hits[depth] ?? 0) + (depth < accepted ? 1 : 0);
    }
  }

  #of(part: Part): { drafted: number; accepted: number } {
    const of = this.#byPart.get(part) ?? { drafted: 0, accepted: 0 };
    this.#byPart.set(part, of);
    return of;
  }

  /**
   * Notes what a step took, in seconds.
   * @param rows of its tree, or 0 for plain decoding
   * @param host of the call beside the engine; undefined if others used the engine meanwhile
   */
  time(rows: number, tokens: number, engine: number, host: number | undefined): void {
    if (rows > 0) this.#verify += engine;
    else this.#plain += engine;
    this.#timed += tokens;
    if (host === undefined) this.#crowded = true;
    else this.#host += host;
  }

  /** The last so many tokens of the last step were not wanted: the text ended before. */
  unwanted(count: number): void {
    const dropped = Math.min(Math.max(0, count - 1), this.#last); // the last of them was the step's own
    this.#accepted -= dropped;
    for (let depth = this.#last - dropped; depth < this.#last; depth++) this.#hits[depth] -= 1;
    this.#last -= dropped;
    const left = Math.max(0, this.#lastByRule.length - count);
    this.#byRule -= sum(this.#lastByRule.slice(left));
    this.#lastByRule = this.#lastByRule.slice(0, left);
  }

  /** @param token seconds of plain decoding; undefined before any was timed */
  stats(parts: readonly Part[], token?: number): SpeculationStats {
    const off = parts.every((part) => part.off !== undefined)
      ? "every drafter failed"
      : this.#steps === 0
        ? "no draft promised a gain"
        : undefined;
    const drafting = parts.reduce((all, { seconds }) => all + seconds, 0);
    const spent = this.#verify + this.#plain + this.#host + drafting;
    const measured = token !== undefined && !this.#crowded && spent > 0 ? (this.#timed * token) / spent : undefined;
    return {
      steps: this.#steps,
      drafted: this.#drafted,
      accepted: this.#accepted,
      meanAcceptedLength: this.#steps > 0 ? 1 + this.#accepted / this.#steps : 1,
      acceptedAtDepth: this.#hits.map((hits, i) => hits / this.#reached[i]),
      drafters: Object.fromEntries(
        parts.map((part) => [
          part.name,
          {
            ...(this.#byPart.get(part) ?? { drafted: 0, accepted: 0 }),
            ...(part.off === undefined ? {} : { off: part.off }),
          },
        ]),
      ),
      predictedGain: this.#tokens > 0 ? this.#predicted / this.#tokens : 1,
      ...(this.#rule ? { approximate: { rule: this.#rule, tokens: this.#byRule } } : {}),
      ...(measured === undefined ? {} : { measuredGain: measured }),
      draftMs: 1e3 * drafting,
      verifyMs: 1e3 * this.#verify,
      plainMs: 1e3 * this.#plain,
      ...(off === undefined ? {} : { off }),
    };
  }
}
