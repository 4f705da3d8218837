// What is known about drafting with one model on this machine, for all its texts.

import { Acceptance, countsOfKind, possibleCounts } from "./acceptance.ts";
import { autoDrafters } from "./auto.ts";
import { CostCurve } from "./cost-curve.ts";
import { Credit } from "./credit.ts";
import type { Drafter } from "./drafter.ts";
import type { Learnt } from "./keep.ts";
import { MeanTime } from "./mean-time.ts";
import { Recent } from "./recent.ts";

/** Sets of drafters that are told apart at most. */
const mostCredits = 64;

/** First steps that may be slow for code and memory that were not used before. */
const cold = 8;
/** Rows of a tree that a curve may know about. */
const mostRows = 256;
/** Tokens that a call may bring. */
const mostBurst = 4096;

/** Experience as a file has it. */
interface Written {
  token: number;
  burst: number;
  host: number;
  curve: [number, number, number][];
  acceptance: [string, number[]][];
}

const isNumber = (value: unknown, most = Number.MAX_VALUE): value is number =>
  typeof value === "number" && value >= 0 && value <= most;

/** What a file says, if every number of it may be true. */
function writtenOf(text: string): Written | undefined {
  let value: Partial<Written> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { token, burst, host, curve, acceptance } = value ?? {};
  const ok =
    isNumber(token) &&
    isNumber(burst, mostBurst) &&
    burst >= 1 &&
    isNumber(host) &&
    Array.isArray(curve) &&
    curve.every(
      (point) =>
        Array.isArray(point) &&
        point.length === 3 &&
        point.every((one) => isNumber(one) && one > 0) &&
        Number.isInteger(point[0]) &&
        point[0] <= mostRows,
    ) &&
    Array.isArray(acceptance) &&
    acceptance.every(
      (entry) =>
        Array.isArray(entry) &&
        typeof entry[0] === "string" &&
        Array.isArray(entry[1]) &&
        entry[1].length === countsOfKind &&
        entry[1].every((count) => isNumber(count, 1e6)) &&
        possibleCounts(entry[1]),
    );
  return ok ? { token, burst, host, curve, acceptance } : undefined;
}

/** What drafting has learnt about a model on this machine. */
export class Experience implements Learnt {
  readonly acceptance = new Acceptance();
  /** Engine seconds by rows of a tree. */
  readonly curve = new CostCurve();
  readonly #token = new MeanTime(cold); // engine seconds of a token without drafting
  #burst = 1; // tokens that a call of plain decoding has brought at most
  readonly #host = new MeanTime(cold);
  readonly #credits = new Recent(mostCredits, () => new Credit());
  #auto: readonly Drafter[] | undefined;
  #keeper: { changed(): void; save(): Promise<void> } | undefined;

  /** What drafters of these names have won and spent, in all texts. */
  credit(names: readonly string[]): Credit {
    return this.#credits.of(names.join("\n"));
  }

  /** The drafters of `draft: "auto"`. */
  get auto(): readonly Drafter[] {
    this.#auto ??= autoDrafters();
    return this.#auto;
  }

  /**
   * Seconds of a token without drafting; undefined before any was timed. Without drafts a call brings as many tokens as the longest that was seen: between drafts calls are
   * shorter, and would make plain decoding look slower than it is.
   */
  get plain(): number | undefined {
    const { value } = this.#token;
    return value === undefined ? undefined : value + this.host / this.#burst;
  }

  /** Seconds of a call beside the engine's, drafters left out. */
  get host(): number {
    return this.#host.value ?? 0;
  }

  /** Who keeps it for the next process. */
  set keeper(keeper: { changed(): void; save(): Promise<void> }) {
    this.#keeper = keeper;
  }

  /** A text has ended: there is more to keep. */
  changed(): void {
    this.#keeper?.changed();
  }

  /** Writes what was learnt since the last time, if it is kept. */
  async save(): Promise<void> {
    await this.#keeper?.save();
  }

  toInts(): Int32Array {
    const written: Written = {
      token: this.#token.value ?? 0,
      burst: this.#burst,
      host: this.host,
      curve: this.curve.entries(),
      acceptance: this.acceptance.entries(),
    };
    const text = JSON.stringify(written);
    const bytes = Buffer.from(text.padEnd(text.length + 3));
    return new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 4 * Math.floor(bytes.length / 4)));
  }

  fromInts(ints: Int32Array): boolean {
    const written = writtenOf(Buffer.from(ints.buffer, ints.byteOffset, ints.byteLength).toString("utf8"));
    if (!written) return false;
    if (written.token > 0) this.#token.observe(written.token);
    this.#burst = written.burst;
    if (written.host > 0) this.#host.observe(written.host); // 0: it was not measured
    this.curve.restore(written.curve);
    this.acceptance.restore(written.acceptance);
    return true;
  }

  /** Notes a step of so many rows, or plain decoding for 0. @param host undefined if others used the engine meanwhile, 0 if it was not measured */
  observe(rows: number, tokens: number, engine: number, host: number | undefined): void {
    const measured = host === 0 ? undefined : host;
    if (rows === 0) this.observePlain(tokens, engine, measured);
    else this.observeTree(rows, engine, measured);
  }

  /** Notes a step of plain decoding. @param host undefined if others used the engine meanwhile */
  observePlain(tokens: number, engine: number, host: number | undefined): void {
    if (host !== undefined) this.#host.observe(host);
    this.#token.observe(engine / tokens);
    this.#burst = Math.max(this.#burst, tokens);
    if (this.#token.value !== undefined) this.curve.setSingle(this.#token.value);
  }

  /** Notes a step that evaluated a tree. */
  observeTree(rows: number, engine: number, host: number | undefined): void {
    if (host !== undefined) this.#host.observe(host);
    this.curve.observe(rows, engine);
  }
}
