// What callers hand to the public calls: options, signals, callbacks and token ids, refused by name where they make no sense.

import { badArgument, expected, OutriderError } from "../errors.ts";

export { checkOptions } from "../errors.ts";

/** Token ids: an array of numbers or a typed array of integers. */
export type TokenIds =
  | readonly number[]
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;

const integerArrays = [
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
];

/** Whether a value holds its elements itself; an object with a length may claim any. */
function isIds(value: unknown): value is TokenIds {
  if (Array.isArray(value)) return true;
  return ArrayBuffer.isView(value) && integerArrays.includes((value as Int32Array)[Symbol.toStringTag]);
}

/**
 * A copy of token ids.
 * @param name of the argument they came as
 * @param what a good argument is
 * @param most ids that fit; checked before anything is read
 * @throws {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_CONTEXT.
 */
export function checkIds(name: string, what: string, ids: unknown, vocab: number, most = Infinity): Int32Array {
  if (!isIds(ids)) throw badArgument(name, what, ids);
  if (ids.length > most)
    throw new OutriderError(
      "OUTRIDER_CONTEXT",
      `Expected at most ${most} tokens in the context for ${name}, received ${ids.length}`,
    );
  for (let i = 0; i < ids.length; i++) {
    if (!Number.isInteger(ids[i]) || ids[i] < 0 || ids[i] >= vocab)
      throw expected("OUTRIDER_ARGUMENT", `${name}[${i}]`, `a token id below ${vocab}`, ids[i]);
  }
  return Int32Array.from(ids);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT if there is nothing to continue. */
export function checkPrompt(prompt: Int32Array): void {
  if (prompt.length === 0)
    throw new OutriderError("OUTRIDER_ARGUMENT", "Expected at least one token for prompt, received none");
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `signal` is an AbortSignal or undefined. */
export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw badArgument("signal", "an AbortSignal", signal);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `callback` is a function or undefined. */
export function checkCallback(name: string, callback: unknown): void {
  if (callback !== undefined && typeof callback !== "function") throw badArgument(name, "a function", callback);
}
