import { copy } from "./copy.ts";
import type { Drafter } from "./drafter.ts";
import { ngram } from "./ngram.ts";
import { recycle } from "./recycle.ts";

/** New drafters of the kinds that `draft: "auto"` has: they need no model, take microseconds and pay on texts of many kinds. */
export const autoDrafters = (): Drafter[] => [copy(), ngram(), recycle()];
