// Checks that the options of drafters share.

import { badArgument } from "../errors.ts";

/** Refuses members that are not known: a misspelt one would be a default without a word. */
export function checkKnown(options: object, known: readonly string[]): void {
  for (const key of Object.keys(options))
    if (!known.includes(key)) throw badArgument("options", `only ${known.join(", ")}`, key);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `value` is an integer in the range */
export function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw badArgument(name, `an integer from ${least} to ${most}`, value);
}
