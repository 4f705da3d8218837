// The drafters of one text under the policy: proposals in, what came of them back.

import { merge, prune } from "../tree/build.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { Account, type ApproximateRule, type SpeculationStats } from "./account.ts";
import { Copier } from "./copier.ts";
import type { Credit } from "./credit.ts";
import type { DraftContext, DraftCosts, Drafter, DraftOutcome, DraftSampling } from "./drafter.ts";
import type { Experience } from "./experience.ts";
import { Part } from "./part.ts";
import { choose, mergeAll, mostRows, plainEvery, probeEvery } from "./policy.ts";

/** Share of a token's time that a drafter may take for each token of the prompt, beside what it is charged for: a hundredth of the prefill. */
const freeShare = 0.002;
/** Share of a token's time from which on a drafter is slow, and drafted tokens that are enough to do without it. */
const [slow, enough] = [0.05, 1.5];
/** Share of a token's time from which on drafters leave other things in the caches. */
const busy = 0.15;
/** Tokens' worth of time that a proposal may have been waited for at most: behind others in the queue, it was not worked on. */
const mostWaited = 8;
/** Tokens' worth of time that rows may take in a step which are evaluated for what they tell. */
const exploring = 1;

/** Drafts in a row after which one has a row more: what that takes may have been measured in another text, or beside a stall. */
const oneMoreEvery = 8;

/** How a call without proposals goes on. */
export interface Ahead {
  /** Tokens that it draws at most, if it copies nothing. */
  repeat: number;
  /** What it copies by itself, as in {@link NativeBatch}. */
  copies?: Int32Array;
}

/** A call without proposals. */
export interface PlainCall {
  /** The last token before. */
  root: number;
  /** Tokens that it brought. */
  tokens: Int32Array;
  /** What it copied, as in {@link NativeBatchResult}; absent if it was not to copy. */
  steps?: Float64Array;
  proposed?: Int32Array;
  /** The `width` best ids of every row, if drafters want any. */
  best?: Int32Array;
  width: number;
  /** Seconds of the engine. */
  engine: number;
  /** Seconds that were not the engine's, as in {@link Drafting.time}. */
  beside: number | undefined;
}

/** All drafters at work on one text. */
export class Drafting {
  readonly #parts: Part[];
  readonly #kinds: Map<Part, string>;
  readonly #experience: Experience;
  readonly #vocab: number;
  readonly #account: Account;
  #root: number;
  #gain = 1;
  #inRow = 0; // steps with drafts since the last plain one
  #idle = 0; // tokens since the last draft was evaluated
  #asks = 0;
  #reading = 0; // seconds that the first asking took beyond what asking takes
  #said: number; // tokens of the prompt
  #step: { tree: number; asking: number } | undefined; // seconds of the step under way
  #timed: number; // seconds of the drafters before it
  #token = 0; // seconds of a token without drafts
  readonly #credit: Credit;
  #quiet = 0; // calls since a draft was of use
  #cold = false; // a drafter was at work since the last step: the caches are its own
  readonly #untold: (PlainCall & { unwanted?: number; cold?: boolean })[] = [];
  readonly #copier: Copier | undefined;

  /**
   * @param sampling how the text is drawn: what is accepted depends on the temperature, and on the rule that accepts what was not drawn, if there is one
   * @param self the model at work on the text
   */
  constructor(
    drafters: readonly Drafter[],
    experience: Experience,
    tokens: ArrayLike<number>,
    context: DraftContext,
    sampling: DraftSampling & { approximate?: { rule: ApproximateRule } },
    self?: unknown,
  ) {
    this.#experience = experience;
    this.#vocab = context.vocab;
    this.#root = tokens[tokens.length - 1];
    this.#said = tokens.length;
    this.#parts = drafters.map((drafter) => new Part(drafter, tokens, context, sampling, self));
    const { temperature, approximate } = sampling;
    this.#account = new Account(approximate?.rule);
    const warmth = temperature === 0 ? "greedy" : temperature <= 0.5 ? "cool" : temperature <= 1 ? "warm" : "hot";
    this.#credit = experience.credit(this.#parts.map(({ kind }) => kind));
    const way = approximate ? `${warmth}, ${approximate.rule}` : warmth;
    this.#kinds = new Map(this.#parts.map((part) => [part, `${part.kind}, ${way}`]));
    this.#timed = this.#seconds();
    const [one] = this.#parts;
    if (this.#parts.length === 1 && one.copies && one.best === 0 && !approximate)
      this.#copier = new Copier(one, one.copies, this.#kinds.get(one) as string, experience, this.#account);
  }

  /** How many best ids of every row the drafters want. While they rest none: to look for them takes time as well. */
  get best(): number {
    if (this.#credit.rest > 0) return 0;
    return this.#parts.reduce((most, { best, off }) => Math.max(most, off === undefined ? best : 0), 0);
  }

  /** Whether drafters are to be asked now. */
  get due(): boolean {
    return this.#credit.rest <= 0 && !this.#copier?.works;
  }

  /** How a call without proposals goes on: where nothing pays, drafters are asked less and less often. @param most tokens that it may draw, if it copies nothing */
  ahead(most: number): Ahead {
    const copier = this.#copier;
    if (copier?.works) {
      if (copier.due) this.#tell();
      const copies = copier.ahead();
      return copies ? { repeat: most, copies } : { repeat: 1 };
    }
    return { repeat: this.#credit.rest >= most ? most : Math.min(most, 2 ** this.#quiet) };
  }

  #seconds(): number {
    return this.#parts.reduce((sum, { seconds }) => sum + seconds, 0);
  }

  /** Of these, the seconds that proposals were waited for. */
  #waited(): number {
    return this.#parts.reduce((sum, { waited }) => sum + waited, 0);
  }

  /**
   * Of the time that asking took, what is charged now. The first asking reads the prompt: what it takes beyond the others is spent for the whole text, and is settled
   * at its end. A pause in the middle that had other reasons is no measure, but what a proposal was waited for is work.
   */
  #charged(own: number, waited: number): number {
    const first = this.#asks++ === 0;
    const usual = this.#credit.usual(own, !first);
    if (first) this.#reading = own + waited - usual;
    return first ? usual : usual + waited;
  }

  /**
   * The tree to evaluate next; undefined: decode plainly.
   * @throws the reason of the signal, if it is aborted while a drafter thinks
   */
  async propose(depth: number, signal?: AbortSignal): Promise<TokenTree | undefined> {
    this.#gain = 1;
    const { acceptance, curve, plain, host } = this.#experience;
    // What a token takes is measured while drafters are at rest.
    if (!this.due || plain === undefined || this.#inRow >= plainEvery) return undefined;
    const single = curve.seconds(1) ?? plain;
    const costs: DraftCosts = Object.freeze({
      // Where longer steps say that the machine has become faster, so has a token.
      token: Math.min(plain, single + host),
      tree: (rows: number) => (curve.seconds(rows) ?? plain * rows) + host,
    });
    const [started, before, waitedBefore] = [performance.now(), this.#seconds(), this.#waited()];
    const budget = { nodes: mostRows - 1, depth, costs };
    const proposals: TokenTree[] = [];
    let expected = 0; // tokens of the proposals so far
    for (const [i, part] of this.#parts.entries()) {
      // Who takes his time is not asked where those before him are sure already.
      if (expected >= enough && part.meanSeconds > slow * costs.token) {
        part.pass();
        continue;
      }
      await part.propose(this.#root, this.#vocab, budget, signal);
      if (!part.proposal) continue;
      const tree = acceptance.calibrate(this.#kinds.get(part) as string, part.proposal, 2 ** i, part.trust.factor);
      proposals.push(tree);
      for (let node = 1; node < tree.size; node++) expected += tree.reach[node];
    }
    this.#token = costs.token;
    const { tree, gain } = choose(proposals, mostRows, costs, this.#inRow % oneMoreEvery === oneMoreEvery - 1 ? 1 : 0);
    // What it takes to choose is spent on drafters too.
    const asking = (performance.now() - started) / 1e3;
    const waited = this.#waited() - waitedBefore;
    const charged = this.#charged(asking - waited, Math.min(waited, mostWaited * costs.token));
    this.#cold = this.#seconds() - before > busy * costs.token;
    if (tree) {
      this.#gain = gain;
      this.#step = { tree: costs.tree(tree.size), asking: charged };
      return this.#explored(tree, depth, costs);
    }
    this.#credit.note(-charged, costs.token);
    const probe = this.#idle >= probeEvery && proposals.length > 0 ? prune(mergeAll(proposals), 2) : undefined;
    return this.#explored(probe, depth, costs);
  }

  /** The tree with the rows that drafters want to see evaluated, which are charged to them at once. */
  #explored(tree: TokenTree | undefined, depth: number, costs: DraftCosts): TokenTree | undefined {
    let all = tree;
    const before = this.#seconds();
    for (const part of this.#parts) {
      if (!part.explores) continue;
      const rows = all?.size ?? 1;
      const without = all ? costs.tree(rows) : costs.token;
      let nodes = 0;
      while (rows + nodes < mostRows && costs.tree(rows + nodes + 1) - without <= exploring * costs.token) nodes += 1;
      const more = nodes > 0 ? part.explore(this.#root, this.#vocab, { nodes, depth, costs }) : undefined;
      if (!more) continue;
      all = all ? merge([all, more]) : more;
      this.#credit.note(without - costs.tree(all.size), costs.token);
    }
    this.#credit.note(-Math.min(this.#seconds() - before, exploring * costs.token), costs.token);
    if (all) this.#inRow += 1;
    return all;
  }

  /**
   * Tells the drafters what a step brought.
   * @param width best ids of a row
   * @param tree what was evaluated of their proposals; undefined after plain decoding
   * @param accepted nodes of the walk, the root left out
   * @param byRule for each token of the outcome: 1 if it was accepted by rule and not drawn
   */
  observe(
    outcome: DraftOutcome,
    width: number,
    tree?: TokenTree,
    accepted: ArrayLike<number> = [],
    byRule: ArrayLike<number> = [],
  ): void {
    if (outcome.tokens.length === 0) return;
    this.#tell();
    this.#pass(outcome.tokens, tree !== undefined);
    this.#learn(outcome, width, tree, accepted, byRule);
  }

  /**
   * Notes what a call without drafts brought and took. Drafters that have nothing to say until later are told then: code that runs once in a while runs slowly, and all
   * calls at a time take little more than one.
   */
  plain(call: PlainCall): void {
    if (call.tokens.length === 0) return;
    this.#untold.push({ ...call, cold: this.#cold });
    this.#pass(call.tokens, false);
    this.#copier?.pass(call.tokens.length, call.steps);
    if (this.due) this.#tell();
  }

  /** What has to be known at once of tokens that the text has grown by. */
  #pass(tokens: Int32Array, drafted: boolean): void {
    this.#root = tokens[tokens.length - 1];
    if (!drafted && !this.#cold) this.#inRow = 0; // else a token is still to be timed
    this.#cold = false;
    this.#credit.pass(tokens.length);
    this.#quiet = drafted && tokens.length > 1 ? 0 : this.#quiet + 1;
    this.#idle = drafted ? 0 : this.#idle + tokens.length;
  }

  /** Tells what was not told yet. */
  #tell(): void {
    for (const call of this.#untold.splice(0)) {
      const { root, tokens, best, width, steps, engine, beside, cold } = call;
      if (this.#copier && steps) this.#copier.learn({ ...call, steps }, this.#host(beside));
      else {
        this.#time(0, tokens.length, engine, beside, cold);
        const token = Int32Array.of(root, ...tokens.subarray(0, -1));
        this.#learn({ tokens, best, rows: { token, parent: token.map((_, i) => i - 1) } }, width);
      }
    }
  }

  #learn(
    outcome: DraftOutcome,
    width: number,
    tree?: TokenTree,
    accepted: ArrayLike<number> = [],
    byRule: ArrayLike<number> = [],
  ): void {
    const { tokens } = outcome;
    this.#account.tokens(tokens.length, this.#gain, byRule);
    if (tree) this.#account.tree(tree, accepted, this.#parts);
    // That a draft was not taken is what acceptance learns from; what drafters owe is the time that they took.
    if (tree && this.#step) {
      const won = Math.max(0, tokens.length * this.#token - this.#step.tree);
      this.#credit.note(won - this.#step.asking, this.#token);
    }
    this.#step = undefined;
    this.#gain = 1;
    for (const part of this.#parts) {
      if (part.proposal) {
        const kind = this.#kinds.get(part) as string;
        part.trust.note(this.#experience.acceptance.observe(kind, part.proposal, tokens));
      }
      part.observe(outcome, width);
    }
  }

  /**
   * Notes what a step took.
   * @param rows of its tree, or 0 for plain decoding
   * @param beside seconds from the end of the step before that were not the engine's, the drafters' included; undefined if others used the engine meanwhile
   */
  time(rows: number, tokens: number, engine: number, beside: number | undefined): void {
    this.#tell();
    this.#time(rows, tokens, engine, beside);
  }

  #time(rows: number, tokens: number, engine: number, beside: number | undefined, cold = false): void {
    const host = this.#host(beside);
    this.#account.time(rows, tokens, engine, host);
    if (!cold) this.#experience.observe(rows, tokens, engine, host);
  }

  /** Of the time beside the engine, what was not the drafters': 0 where they work beside it and say more than there was. */
  #host(beside: number | undefined): number | undefined {
    const drafters = this.#seconds();
    const host = beside === undefined ? undefined : Math.max(0, beside - (drafters - this.#timed));
    this.#timed = drafters;
    return host;
  }

  /** The last so many tokens were not wanted: the text ended before. */
  unwanted(count: number): void {
    const last = this.#untold.at(-1);
    if (last?.steps) last.unwanted = count;
    this.#tell();
    if (!last?.steps) this.#account.unwanted(count);
  }

  /** Ends all sessions. */
  end(): void {
    this.#tell();
    const over = this.#reading - freeShare * this.#said * this.#token;
    if (this.#token > 0 && over > 0) this.#credit.note(-over, this.#token);
    for (const part of this.#parts) part.end();
    this.#experience.changed();
  }

  get stats(): SpeculationStats {
    this.#tell();
    return this.#account.stats(this.#parts, this.#experience.plain);
  }
}
