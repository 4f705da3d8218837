// What drafters have won and spent: those that only cost are left alone for a while.

import { MeanTime } from "./mean-time.ts";

/** Share of the time of plain decoding that drafters may cost. */
const idleShare = 0.01;
/** Tokens after which drafters are asked again at the latest. */
const longestRest = 16384;
/** Tokens' worth of time that drafters may spend before they have won anything, and that they may save up. */
const [first, most] = [4, 16];

/** An account of time, in tokens of plain decoding, over all texts. */
export class Credit {
  #tokens = first;
  #rest = 0;
  readonly #asking = new MeanTime();

  /** Tokens to decode plainly before drafters are asked again. */
  get rest(): number {
    return this.#rest;
  }

  /**
   * What asking counts for that took so many seconds: no more than twice what it mostly takes.
   * @param later it was not the first of a text, which also reads the prompt
   */
  usual(seconds: number, later: boolean): number {
    if (!later && this.#asking.value === undefined) return 0;
    const counted = this.#asking.counted(seconds);
    if (later) this.#asking.observe(seconds);
    return counted;
  }

  /**
   * Notes time that was saved, or spent if negative. What is overspent is paid back by resting so long that it was a hundredth of the time.
   * @param token seconds of plain decoding
   */
  note(saved: number, token: number): void {
    this.#tokens = Math.min(most, this.#tokens + saved / token);
    const rest = Math.min(longestRest, Math.floor(-this.#tokens / idleShare));
    if (rest <= 0) return;
    this.#tokens = 0;
    this.#rest = Math.max(this.#rest, rest);
  }

  /** Tokens went by. */
  pass(tokens: number): void {
    this.#rest = Math.max(0, this.#rest - tokens);
  }
}
