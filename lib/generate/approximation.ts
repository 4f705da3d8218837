// Approximate acceptance: which drafted tokens a text takes though they were not drawn.

import { badArgument, checkOptions } from "../errors.ts";
import type { NativeAccept } from "../native.ts";
import { relaxedDefaults } from "../verify/relaxed.ts";
import { typicalDefaults } from "../verify/typical.ts";

/**
 * Typical acceptance (Medusa, arXiv:2401.10774): a drafted token is taken if its probability is above min(epsilon, delta * exp(-H)), with H the
 * entropy in nats of the law that the sampler draws from, after penalties, bias, temperature and filters. At temperature 0 that law is one certain token:
 * nothing else is taken, and the text is exact.
 */
export interface TypicalApproximation {
  rule: "typical";
  /** Probability above which a token is always taken; above 0 and up to 1. @default 0.09 */
  epsilon?: number;
  /** Above 0 and up to 1; smaller: less likely tokens are taken where many are possible. @default 0.3 */
  delta?: number;
}

/**
 * Relaxed acceptance (GAD++, arXiv:2203.16487): a drafted token is taken if it is among the `top` likeliest and at most `gap` nats less likely than
 * the likeliest, after penalties and bias, before the temperature. Of tokens that filters leave; at temperature 0 there are no filters, and the rule
 * holds there too.
 */
export interface RelaxedApproximation {
  rule: "relaxed";
  /** From 1 on. @default 3 */
  top?: number;
  /** From 0 on. @default 1 */
  gap?: number;
}

/** A rule by which a text takes drafted tokens that were not drawn, as in {@link GenerateOptions.approximate}. */
export type Approximation = TypicalApproximation | RelaxedApproximation;

function share(name: string, value: unknown): number {
  if (typeof value !== "number" || !(value > 0 && value <= 1))
    throw badArgument(`approximate.${name}`, "a number above 0 and up to 1", value);
  return value;
}

/** The rule that `value` asks for; undefined: none. @throws {OutriderError} OUTRIDER_ARGUMENT */
export function approximationOf(value: unknown): NativeAccept | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return { rule: "typical", ...typicalDefaults };
  if (typeof value !== "object" || value === null)
    throw badArgument("approximate", "true, false or an object with a rule", value);
  const { rule } = value as Partial<Approximation>;
  if (rule === "typical") {
    checkOptions(value, ["rule", "epsilon", "delta"], "approximate");
    const { epsilon = typicalDefaults.epsilon, delta = typicalDefaults.delta } = value as TypicalApproximation;
    return { rule, epsilon: share("epsilon", epsilon), delta: share("delta", delta) };
  }
  if (rule === "relaxed") {
    checkOptions(value, ["rule", "top", "gap"], "approximate");
    const { top = relaxedDefaults.top, gap = relaxedDefaults.gap } = value as RelaxedApproximation;
    if (!Number.isSafeInteger(top) || top < 1) throw badArgument("approximate.top", "a positive integer", top);
    if (!Number.isFinite(gap) || gap < 0) throw badArgument("approximate.gap", "a finite number from 0 on", gap);
    return { rule, top, gap };
  }
  throw badArgument("approximate.rule", '"typical" or "relaxed"', rule);
}
