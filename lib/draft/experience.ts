// What is known about drafting with one model on this machine, for all its texts.

import { Acceptance } from "./acceptance.ts";
import { autoDrafters } from "./auto.ts";
import { CostCurve } from "./cost-curve.ts";
import { Credit } from "./credit.ts";
import type { Drafter } from "./drafter.ts";
import { MeanTime } from "./mean-time.ts";
import { Recent } from "./recent.ts";

/** Sets of drafters that are told apart at most. */
const mostCredits = 64;

/** What drafting has learnt about a model on this machine. */
export class Experience {
  readonly acceptance = new Acceptance();
  /** Engine seconds by rows of a tree. */
  readonly curve = new CostCurve();
  readonly #plain = new MeanTime();
  readonly #host = new MeanTime();
  readonly #credits = new Recent(mostCredits, () => new Credit());
  #auto: readonly Drafter[] | undefined;

  /** What drafters of these names have won and spent, in all texts. */
  credit(names: readonly string[]): Credit {
    return this.#credits.of(names.join("\n"));
  }

  /** The drafters of `draft: "auto"`. */
  get auto(): readonly Drafter[] {
    this.#auto ??= autoDrafters();
    return this.#auto;
  }

  /** Seconds of a token without drafting; undefined before any was timed. */
  get plain(): number | undefined {
    return this.#plain.value;
  }

  /** Seconds of a call beside the engine's, drafters left out. */
  get host(): number {
    return this.#host.value ?? 0;
  }

  /** Notes a step of plain decoding. @param host undefined if others used the engine meanwhile */
  observePlain(tokens: number, engine: number, host: number | undefined): void {
    if (host !== undefined) this.#host.observe(host);
    this.#plain.observe((engine + this.host) / tokens);
    if (!this.curve.known(1)) this.curve.observe(1, engine / tokens);
  }

  /** Notes a step that evaluated a tree. */
  observeTree(rows: number, engine: number, host: number | undefined): void {
    if (host !== undefined) this.#host.observe(host);
    this.curve.observe(rows, engine);
  }
}
