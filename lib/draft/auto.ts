import { copy } from "./copy.ts";
import type { Drafter } from "./drafter.ts";

/**
 * New drafters of the kinds that `draft: "auto"` has: those that paid on every kind of text in `npm run bench -- speculation`. The others bring
 * more on some texts and cost more than they bring on others.
 */
export const autoDrafters = (): Drafter[] => [copy()];
