// Checks that the options of drafters share.

import { badArgument } from "../errors.ts";

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `value` is an integer in the range */
export function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw badArgument(name, `an integer from ${least} to ${most}`, value);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `value` is a probability */
export function checkProbability(name: string, value: number): void {
  if (typeof value !== "number" || !(value >= 0 && value <= 1)) throw badArgument(name, "a number from 0 to 1", value);
}
