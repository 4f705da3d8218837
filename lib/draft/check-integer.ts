// Checks that the options of drafters share.

import { badArgument } from "../errors.ts";

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `value` is an integer in the range */
export function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw badArgument(name, `an integer from ${least} to ${most}`, value);
}
