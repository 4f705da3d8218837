// How many tokens are drawn in one call where nothing is drafted: the more the less a token costs, and the more chances to draft go by.

/** How a call of plain decoding goes on. */
export interface Ahead {
  /** Tokens that it draws at most. */
  repeat: number;
  /** It ends where so many last tokens were in the text before; 0: nowhere. */
  knownRun: number;
}

/** Longest repetition that is told apart from longer ones. */
export const longestRun = 64;
/** Longest that is waited for. */
const longestWait = 16;
/** Tokens after which drafters are asked that had nothing to wait for: they learn from what they would have said. */
const askEvery = 64;

/**
 * Drafters that only go on with repetitions are asked where there is one that is long enough; each time that such a place brought nothing, a longer one is waited for, until
 * a draft is taken. Others are asked after 1, 2, 4 tokens and so on since one was.
 */
export class Pace {
  #quiet = 0; // calls since a draft was of use
  #vain = 0; // repetitions since then where nothing was drafted
  #since = 0; // tokens since drafters had a reason to be asked
  #woken = false; // the last call ended at a repetition
  #asked: Ahead = { repeat: 1, knownRun: 0 };
  #waits = false; // the call under way waits for one
  #reading: number;

  /** @param reading calls that it takes drafters to read what there is of the text */
  constructor(reading = 0) {
    this.#reading = reading;
  }

  /** Whether drafters may have something to say now. */
  get due(): boolean {
    return this.#since === 0 || this.#since >= askEvery;
  }

  /**
   * @param most tokens that a call may draw
   * @param run tokens of a repetition that is long enough; 0: none is; undefined: drafters propose anywhere
   */
  ahead(most: number, run: number | undefined): Ahead {
    this.#waits = run !== undefined && most > 1;
    if (run === undefined) this.#asked = { repeat: Math.min(most, 2 ** this.#quiet), knownRun: 0 };
    else this.#asked = { repeat: most, knownRun: run === 0 ? 0 : Math.min(longestWait, run + this.#vain) };
    return this.#asked;
  }

  /**
   * Notes what a call brought.
   * @param drafted whether a draft was evaluated
   * @param tokens that it brought
   */
  note(drafted: boolean, tokens: number): void {
    const taken = drafted && tokens > 1;
    if (taken) this.#vain = 0;
    else if (this.#woken && !drafted && this.#reading === 0) this.#vain += 1;
    this.#quiet = taken ? 0 : this.#quiet + 1;
    this.#woken = !drafted && this.#asked.knownRun > 0 && tokens < this.#asked.repeat;
    if (drafted || !this.#waits || this.#woken || this.#reading > 0) this.#since = 0;
    else this.#since = this.due && this.#since > 0 ? tokens : this.#since + tokens;
    this.#reading = Math.max(0, this.#reading - 1);
  }
}
