// What is known about drafting with one model on this machine, for all its texts.

import { Acceptance } from "./acceptance.ts";
import { autoDrafters } from "./auto.ts";
import { CostCurve } from "./cost-curve.ts";
import type { Drafter } from "./drafter.ts";

/** Weight of a new time in a mean. */
const fresh = 0.1;

/** What drafting has learnt about a model on this machine. */
export class Experience {
  readonly acceptance = new Acceptance();
  readonly curve = new CostCurve();
  /** Seconds a token without drafting, and those of a step outside the engine. */
  plain: number | undefined;
  host = 0;
  #auto: readonly Drafter[] | undefined;

  /** The drafters of `draft: "auto"`. */
  get auto(): readonly Drafter[] {
    this.#auto ??= autoDrafters();
    return this.#auto;
  }

  /** Notes a step. @param tokens that it brought @param rows of its tree, or 0 for plain decoding */
  observe(rows: number, tokens: number, engineSeconds: number, hostSeconds: number): void {
    if (rows > 0) {
      this.curve.observe(rows, engineSeconds);
      this.host += fresh * (hostSeconds - this.host);
      return;
    }
    const seconds = (engineSeconds + hostSeconds) / tokens;
    this.plain =
      this.plain === undefined ? seconds : this.plain + fresh * (Math.min(seconds, 2 * this.plain) - this.plain);
    if (!this.curve.known(1)) this.curve.observe(1, engineSeconds / tokens);
  }
}
