// How many tokens it pays to draft one after the other, where each takes time.

import { ChainTime } from "./chain-time.ts";
import { commonPrefix } from "./common-prefix.ts";
import type { DraftCosts } from "./drafter.ts";
import { MeanTime } from "./mean-time.ts";

/** Weight of what was believed before anything was seen, in observations. */
const priorWeight = 4;
/** Acceptance of a token whose parent was accepted, before anything was seen. */
const priorAcceptance = 0.7;
/** Of earlier observations at each new one: the last hundred count. */
const decay = 0.99;
/** Tokens without a draft after which short ones are tried again; doubled each time it was in vain. */
const [firstPause, longestPause] = [64, 1024];
/** Short drafts in a row: before the first, the drafter has to read what it has missed. */
const tries = 3;
/** Gain that has to be expected, drafting counted. */
const leastGain = 1.03;
/** Length that is tried while nothing was timed, and at the most where drafts did not pay. */
const firstLength = 3;

/**
 * Learns acceptance by depth and the times of a drafter that draws token by token, and chooses the length g of a chain at which tokens a second
 * are most: (1 + sum of a_1 ... a_j) / (T(g + 1) + call + t(g)), j up to g, with a_j the acceptance at depth j, T what a tree takes, t what drafting g
 * tokens takes and `call` the time around it. Of a tree that is drafted level by level, a level is what a token is of a chain, and its acceptance that of any node.
 */
export class ChainLength {
  readonly #offered: Float64Array;
  readonly #accepted: Float64Array;
  readonly #drafting = new ChainTime();
  readonly #call = new MeanTime();
  #rest = 0;
  #pause = firstPause;
  #tries = tries;

  /** @param most tokens of a chain */
  constructor(most: number) {
    this.#offered = new Float64Array(most);
    this.#accepted = new Float64Array(most);
  }

  /** Probability that the token at depth `at`, from 0 on, is what the model says, given that those before it were. */
  acceptance(at: number): number {
    return (this.#accepted[at] + priorWeight * priorAcceptance) / (this.#offered[at] + priorWeight);
  }

  /** Notes what came after the root of a chain, or of none. @returns tokens of the chain that were right */
  learn(chain: ArrayLike<number>, tokens: ArrayLike<number>): number {
    const known = Math.min(chain.length, tokens.length);
    const right = commonPrefix(chain, tokens);
    if (chain.length > 0) this.observe(right, right < known);
    else this.skipped(tokens.length);
    return right;
  }

  /** Notes a chain of which the model's own tokens are known: so many were right, and the next was wrong unless the tokens end there. */
  observe(right: number, wrong: boolean): void {
    for (let at = 0; at < Math.min(this.#offered.length, right + (wrong ? 1 : 0)); at++) {
      this.#offered[at] = decay * this.#offered[at] + 1;
      this.#accepted[at] = decay * this.#accepted[at] + (at < right ? 1 : 0);
    }
  }

  /** Notes what a chain took, or a tree with so many levels: seconds of its tokens, and around them. */
  time(tokens: number, engine: number, around: number): void {
    this.#drafting.observe(tokens, engine);
    this.#call.observe(around);
  }

  /** Notes tokens that the text grew by without a draft. */
  skipped(tokens: number): void {
    this.#rest = Math.max(0, this.#rest - tokens);
  }

  /** Tokens to draft; 0: none. */
  choose(costs: DraftCosts | undefined, most: number): number {
    if (this.#rest > 0 || most < 1) return 0;
    const limit = Math.min(most, this.#offered.length);
    const call = this.#call.value;
    if (!costs || call === undefined) return Math.min(firstLength, limit);
    let [best, length, expected, reach] = [leastGain / costs.token, 0, 1, 1];
    for (let g = 1; g <= limit; g++) {
      reach *= this.acceptance(g - 1);
      expected += reach;
      const rate = expected / (costs.tree(g + 1) + call + (this.#drafting.seconds(g) ?? 0));
      if (rate > best) [best, length] = [rate, g];
    }
    if (length > 0) {
      [this.#pause, this.#tries] = [firstPause, tries];
      return length;
    }
    this.#tries -= 1; // so that acceptance and times go on being known; then it rests
    if (this.#tries > 0) return Math.min(1, limit);
    this.#rest = this.#pause;
    [this.#pause, this.#tries] = [Math.min(longestPause, 2 * this.#pause), tries];
    return Math.min(1, limit);
  }
}
