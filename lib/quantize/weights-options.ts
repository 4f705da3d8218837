// The option `weights` of load(): its meaning, defaults and checks.

import { badArgument } from "../errors.ts";
import { checkOptions } from "../generate/arguments.ts";

/** How {@link load} quantises. */
export interface WeightsOptions {
  bits: 2 | 3 | 4 | 8;
  /** Inputs that share a scale and a zero. @default 64 */
  group?: number;
  /**
   * "rtn" rounds to nearest, within seconds; "decoupleq" calibrates on 4096 tokens of the model's own text, within minutes.
   * @default "rtn" for 4 and 8 bits, "decoupleq" for 2 and 3, which rounding leaves without sense
   */
  method?: "rtn" | "decoupleq";
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT naming the option. */
export function checkWeights(weights: WeightsOptions): Required<WeightsOptions> {
  checkOptions(weights, ["bits", "group", "method"], "weights");
  const { bits, group = 64, method = bits < 4 ? "decoupleq" : "rtn" } = weights;
  if (![2, 3, 4, 8].includes(bits)) throw badArgument("weights.bits", "2, 3, 4 or 8", bits);
  if (!Number.isSafeInteger(group) || group < 1) throw badArgument("weights.group", "a positive integer", group);
  if (method !== "rtn" && method !== "decoupleq") throw badArgument("weights.method", '"rtn" or "decoupleq"', method);
  return { bits, group, method };
}
