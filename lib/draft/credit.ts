// What drafters have won and spent: those that only cost are left alone for a while.

/** Share of the time of plain decoding that asking may take where nothing comes of it. */
const idleShare = 0.01;
/** Tokens after which drafters are asked again at the latest. */
const longestRest = 1024;
/** Tokens' worth of time that drafters may spend before they have won anything, and that they may save up. */
const [first, most] = [4, 16];

/** An account of time, in tokens of plain decoding. */
export class Credit {
  #tokens = first;

  /**
   * Notes time that was saved, or spent if negative.
   * @param token seconds of plain decoding
   * @returns tokens to decode plainly, in which what was overspent is a hundredth
   */
  note(saved: number, token: number): number {
    this.#tokens = Math.min(most, this.#tokens + saved / token);
    const rest = Math.min(longestRest, Math.floor(-this.#tokens / idleShare));
    if (rest <= 0) return 0;
    this.#tokens = 0;
    return rest;
  }
}
