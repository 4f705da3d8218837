// What the confidence of a drafter is worth: acceptance by drafter and confidence, learnt from what the model says.

import { TokenTree } from "../tree/token-tree.ts";
import { Recent } from "./recent.ts";
import { rising } from "./rising.ts";
import type { Judged } from "./trust.ts";

/** Upper ends of the bins of confidence. */
const bins = [0.03, 0.1, 0.2, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1];
/** What a bin counts for before anything was seen, in observations. */
const priorWeight = 6;
/** Of earlier observations at each new one: the last few hundred count. */
const decay = 0.995;
/** Standard deviations below the mean that an estimate stays: long drafts have to be earned. */
const caution = 0.5;
/** Kinds of text that are told apart at most: the one that was not asked for longest is forgotten. */
const mostKinds = 256;
/** Observations after which bins are put in order again. */
const sortEvery = 256;

interface Counts {
  accepted: Float64Array;
  offered: Float64Array;
  /** Proposals with a token of the bin: tokens of one proposal stand and fall together. */
  proposals: Float64Array;
  estimate: Float64Array;
}

const binOf = (confidence: number): number => {
  const at = bins.findIndex((end) => confidence <= end);
  return at < 0 ? bins.length - 1 : at;
};

/** Middle of a bin: its acceptance before anything was seen. */
const prior = (bin: number): number => ((bins[bin - 1] ?? 0) + bins[bin]) / 2;

const newCounts = (): Counts => ({
  accepted: new Float64Array(bins.length),
  offered: new Float64Array(bins.length),
  proposals: new Float64Array(bins.length),
  estimate: Float64Array.from(bins, (_, bin) => prior(bin)),
});

/** Numbers that are known of a kind. */
export const countsOfKind = 4 * bins.length;

/** Whether such numbers may have been counted: no more accepted than offered, nor proposals, and estimates that are probabilities. */
export function possibleCounts(counts: readonly number[]): boolean {
  return bins.every((_, bin) => {
    const [accepted, offered, proposals, estimate] = [0, 1, 2, 3].map((column) => counts[column * bins.length + bin]);
    return accepted <= offered * (1 + 1e-9) && proposals <= offered * (1 + 1e-9) && estimate <= 1;
  });
}

/** Acceptance estimates of any number of kinds: a drafter on texts of one range of temperatures. */
export class Acceptance {
  readonly #counts = new Recent(mostKinds, newCounts);
  #seen = 0;

  /** What is known of each kind, the columns of its bins one after the other. */
  entries(): [kind: string, counts: number[]][] {
    return [...this.#counts.entries()].map(([kind, { accepted, offered, proposals, estimate }]) => [
      kind,
      [...accepted, ...offered, ...proposals, ...estimate],
    ]);
  }

  /** Takes over what was known earlier, as `entries` has it. */
  restore(entries: readonly (readonly [kind: string, counts: readonly number[]])[]): void {
    for (const [kind, counts] of entries) {
      const known = this.#counts.of(kind);
      for (const [i, column] of [known.accepted, known.offered, known.proposals, known.estimate].entries())
        column.set(counts.slice(i * bins.length, (i + 1) * bins.length));
    }
  }

  /** Probability that a token of this confidence is what the model says, given that the text came to its parent. */
  estimate(kind: string, confidence: number): number {
    return this.estimates(kind)(confidence);
  }

  /** The same for many. */
  estimates(kind: string): (confidence: number) => number {
    const { estimate } = this.#counts.of(kind);
    return (confidence) => estimate[binOf(confidence)];
  }

  /**
   * The same tree with reaches as experience has them, and a bit as the source of all nodes.
   * @param trust what every acceptance is multiplied by: how right the drafter is in this text
   */
  calibrate(kind: string, tree: TokenTree, source: number, trust = 1): TokenTree {
    const reach = new Float32Array(tree.size).fill(1);
    const { estimate } = this.#counts.of(kind);
    const left = new Float32Array(tree.size).fill(1); // of each node's mass, what its earlier children leave
    for (let i = 1; i < tree.size; i++) {
      const above = tree.parent[i];
      const share = Math.min(left[above], trust * estimate[binOf(conditional(tree, i))]);
      left[above] -= share;
      reach[i] = reach[above] * share;
    }
    const { token, parent } = tree;
    return new TokenTree({ token, parent, reach, source: new Uint32Array(tree.size).fill(source, 1) });
  }

  /**
   * Learns from the tokens that came after the root of a proposal, evaluated or not.
   * @returns its tokens whose parent was reached: how many were right, and how many were expected to be
   */
  observe(kind: string, tree: TokenTree, tokens: ArrayLike<number>): Judged {
    const { judged, judge } = this.#judging(kind);
    let at = 0;
    for (let i = 0; i < tokens.length && at >= 0; i++) {
      let next = -1;
      for (const child of tree.children(at)) {
        const right = tree.token[child] === tokens[i];
        if (right) next = child;
        judge(conditional(tree, child), right);
      }
      at = next;
    }
    return judged;
  }

  /**
   * Learns from a run of tokens that came after a repetition, drafted or not.
   * @param confidences of its tokens that the text has tokens for, each given those before
   * @param right how many of them the text went on with
   */
  observeRun(kind: string, confidences: readonly number[], right: number): Judged {
    const { judged, judge } = this.#judging(kind);
    for (const [i, confidence] of confidences.slice(0, right + 1).entries()) judge(confidence, i < right);
    return judged;
  }

  /** Judges the tokens of one proposal, one after the other. */
  #judging(kind: string): { judged: Judged; judge: (confidence: number, right: boolean) => void } {
    const judged = { right: 0, expected: 0 };
    const counts = this.#counts.of(kind);
    const met = new Set<number>();
    const judge = (confidence: number, right: boolean): void => {
      const bin = binOf(confidence);
      if (right) judged.right += 1;
      judged.expected += counts.estimate[bin];
      this.#count(counts, bin, right, !met.has(bin));
      met.add(bin);
    };
    return { judged, judge };
  }

  #count({ accepted, offered, proposals, estimate }: Counts, bin: number, right: boolean, first: boolean): void {
    accepted[bin] = decay * accepted[bin] + (right ? 1 : 0);
    offered[bin] = decay * offered[bin] + 1;
    proposals[bin] = decay * proposals[bin] + (first ? 1 : 0);
    const mean = (accepted[bin] + priorWeight * prior(bin)) / (offered[bin] + priorWeight);
    const spread = Math.sqrt((mean * (1 - mean)) / (proposals[bin] + priorWeight));
    estimate[bin] = Math.max(0, mean - caution * spread);
    this.#seen += 1;
    if (this.#seen % sortEvery !== 0) return;
    const weights = offered.map((count) => count + priorWeight);
    estimate.set(rising(estimate, weights));
  }
}

/** What a drafter says of a node, given its parent. */
function conditional(tree: TokenTree, node: number): number {
  const above = tree.reach[tree.parent[node]];
  return above > 0 ? tree.reach[node] / above : 0;
}
