// Copies that decoding makes by itself, several steps a call: how long they are, and what comes of them.

import type { Account } from "./account.ts";
import { commonPrefix } from "./common-prefix.ts";
import type { Experience } from "./experience.ts";
import { longestRun, type Part } from "./part.ts";
import { agreeing, type CopyLengths, copyLengths, mostRows, plainEvery, probeEvery } from "./policy.ts";

/** How sure copies are that are drafted only so that the policy goes on knowing what they take. */
const leastProbe = 0.3;
/** Tokens after which it is told of calls that drafted nothing. */
const tellEvery = 64;

/** What a step of a call that copies brought, or several in a row that proposed nothing, in the columns of `steps` (native/model/batch.h). */
interface CopyStep {
  tokens: number;
  drafted: number;
  /** Tokens of the repetition that it went on with; 0: behind tokens that were changed. */
  matched: number;
  /** Of the tokens that came next in the source, whether drafted or not, how many came next in the text. */
  right: number;
  /** How many of them are known. */
  proposed: number;
  seconds: number;
}

/** A call that may have copied, as the engine gives it. */
export interface CopyCall {
  tokens: Int32Array;
  /** `[steps, 5]` */
  steps: Float64Array;
  proposed?: Int32Array;
  /** Seconds of the engine. */
  engine: number;
  /** Last tokens that nobody wanted. */
  unwanted?: number;
}

const columns = 5;
const none = new Float64Array();
const nothing = new Int32Array();

function stepsOf({ tokens, steps, proposed = nothing, engine }: CopyCall): CopyStep[] {
  const found: CopyStep[] = [];
  let [at, from, all] = [0, 0, 0];
  for (let i = 0; i < steps.length; i += columns) {
    const [drawn, known, drafted, matched, seconds] = steps.subarray(i, i + columns);
    const right = commonPrefix(tokens.subarray(at, at + drawn), proposed.subarray(from, from + known));
    at += drawn;
    from += known;
    all += seconds;
    found.push({ tokens: drawn, drafted, matched, right, proposed: known, seconds });
  }
  // What is not measured by steps is shared by them.
  for (const step of found) step.seconds *= engine / all;
  return found;
}

/** The drafter that decoding copies for, in one text. */
export class Copier {
  readonly #part: Part;
  readonly #copies: NonNullable<Part["copies"]>;
  readonly #kind: string;
  readonly #experience: Experience;
  readonly #account: Account;
  #lengths: CopyLengths | undefined;
  #idle = 0; // tokens since something was drafted
  #inRow = 0; // steps with drafts since the last without
  #untold = 0; // tokens since the lengths were found

  constructor(part: Part, copies: NonNullable<Part["copies"]>, kind: string, experience: Experience, account: Account) {
    this.#part = part;
    this.#copies = copies;
    this.#kind = kind;
    this.#experience = experience;
    this.#account = account;
  }

  /** Whether there is a drafter to copy for. */
  get works(): boolean {
    return this.#part.off === undefined;
  }

  /** Whether what untold calls brought is worth to be learnt before the next. */
  get due(): boolean {
    return this.#lengths === undefined || this.#inRow > 0 || this.#untold >= tellEvery;
  }

  /** Tokens to copy by tokens that agree, as {@link NativeBatch.copies}; undefined: one token is to be drawn plainly. */
  ahead(): Int32Array | undefined {
    if (this.#inRow >= plainEvery) return undefined;
    const { curve, plain, acceptance } = this.#experience;
    const token = curve.seconds(1) ?? plain;
    if (token === undefined) return undefined;
    if (this.due) {
      this.#untold = 0;
      const { least, most, sure } = this.#copies;
      const estimate = acceptance.estimates(this.#kind);
      const { factor } = this.#part.trust;
      const probabilities = sure.map((said) => (said > 0 ? factor * estimate(said) : 0));
      const tree = (rows: number) => curve.seconds(rows) ?? token * rows;
      this.#lengths = copyLengths(probabilities, least, Math.min(most, mostRows - 1), { token, tree });
      if (this.#idle >= probeEvery)
        for (const [matched, length] of this.#lengths.tokens.entries())
          if (length === 0 && probabilities[matched] >= leastProbe) this.#lengths.tokens[matched] = 1;
    }
    return this.#lengths?.tokens;
  }

  /** Notes what a call brought, before it is learnt from. @param steps as in {@link CopyCall}; absent after a plain call */
  pass(tokens: number, steps: Float64Array = none): void {
    this.#untold += tokens;
    this.#idle += tokens;
    if (steps.length === 0) this.#inRow = 0;
    for (let i = 0; i < steps.length; i += columns) {
      const drafted = steps[i + 2] > 0;
      this.#inRow = drafted ? this.#inRow + 1 : 0;
      if (drafted) this.#idle = 0;
    }
  }

  /**
   * Learns from a call.
   * @param host seconds of the call beside the engine; undefined if others used the engine meanwhile
   */
  learn(call: CopyCall, host: number | undefined): void {
    const steps = stepsOf(call);
    let left = call.unwanted ?? 0;
    const dropped = steps.map(() => 0);
    for (let i = steps.length - 1; i >= 0 && left > 0; i--) {
      dropped[i] = Math.min(left, steps[i].tokens);
      left -= dropped[i];
    }
    let plain = { tokens: 0, seconds: 0 };
    let beside = host; // of the whole call, for the first that is noted
    const note = (rows: number, tokens: number, seconds: number) => {
      this.#account.time(rows, tokens, seconds, beside);
      this.#experience.observe(rows, tokens, seconds, beside);
      if (beside !== undefined) beside = 0;
    };
    for (const [i, { tokens, drafted, matched, right, proposed, seconds }] of steps.entries()) {
      if (proposed > 0) {
        const said = this.#confidences(matched, Math.min(proposed, tokens));
        this.#part.trust.note(this.#experience.acceptance.observeRun(this.#kind, said, right));
      }
      if (drafted === 0) {
        plain = { tokens: plain.tokens + tokens, seconds: plain.seconds + seconds };
        this.#account.tokens(tokens, 1);
        continue;
      }
      if (plain.tokens > 0) note(0, plain.tokens, plain.seconds);
      plain = { tokens: 0, seconds: 0 };
      note(drafted + 1, tokens, seconds);
      this.#account.tokens(tokens, this.#lengths?.gain(matched) ?? 1);
      this.#account.run(drafted, Math.max(0, tokens - 1 - Math.max(0, dropped[i] - 1)), this.#part);
    }
    if (plain.tokens > 0) note(0, plain.tokens, plain.seconds);
  }

  /** What the drafter says of the tokens of a copy. */
  #confidences(matched: number, count: number): number[] {
    const { sure } = this.#copies;
    return Array.from({ length: count }, (_, i) => sure[Math.min(longestRun, agreeing(matched, i))]);
  }
}
