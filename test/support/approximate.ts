// What a row says where a rule accepts drafted tokens: the reference sampler, and the rules of lib/verify on its laws in float64.
import type { NativeAccept, NativeSamplerOptions } from "../../lib/native.ts";
import { Law } from "../../lib/tree/law.ts";
import { relaxedTokens } from "../../lib/verify/relaxed.ts";
import { typicalThreshold } from "../../lib/verify/typical.ts";
import { adjusted, draw, type ReferenceInput, survivors } from "./sampler.ts";

/** Probabilities within a relative 1e-9 of a limit are left out of comparisons: float64 sums in another order differ by less. */
const margin = 1e-9;

/** How a text is drawn. */
export interface Sampling extends Omit<ReferenceInput, "logits" | "history" | "position" | "suppressed"> {
  suppressed?: number[];
  suppressedEarly?: number[];
  minPosition?: number;
  penaltyWindow?: number;
}

/** The same for the native sampler. */
export function nativeSampling(sampling: Sampling, history: Int32Array): Partial<NativeSamplerOptions> {
  const { logitBias = new Map<number, number>(), suppressed = [], suppressedEarly = [], seed = 0, ...rest } = sampling;
  return {
    ...rest,
    seed: BigInt(seed),
    history,
    biasIds: Int32Array.from(logitBias.keys()),
    bias: Float32Array.from(logitBias.values()),
    suppressed: Int32Array.from(suppressed),
    suppressedEarly: Int32Array.from(suppressedEarly),
  };
}

/** What the sampler sees behind `text`. */
export function inputAt(logits: Float32Array, sampling: Sampling, text: readonly number[]): ReferenceInput {
  const { suppressed = [], suppressedEarly = [], minPosition = 0, penaltyWindow = 0, ...rest } = sampling;
  const early = text.length < minPosition ? suppressedEarly : [];
  const history = Int32Array.from(penaltyWindow > 0 ? text.slice(-penaltyWindow) : text);
  return { ...rest, logits, history, suppressed: Int32Array.of(...suppressed, ...early), position: text.length };
}

/** The law that a rule looks at. */
function lawFor({ rule }: NativeAccept, input: ReferenceInput): Law {
  const kept = survivors(input).sort((a, b) => a.id - b.id);
  if (rule === "typical") {
    const mass = kept.map(({ probability }) => probability);
    return Law.of(
      kept.map(({ id }) => id),
      mass,
    );
  }
  // Before the temperature; at temperature 0 of all tokens, since no filter has run.
  const logits = adjusted(input);
  const all = Array.from(logits.keys()).filter((id) => logits[id] > Number.NEGATIVE_INFINITY);
  const ids = (input.temperature ?? 0) === 0 ? all : kept.map(({ id }) => id);
  const largest = ids.reduce((most, id) => Math.max(most, logits[id]), Number.NEGATIVE_INFINITY);
  return Law.of(
    ids,
    ids.map((id) => Math.exp(logits[id] - largest)),
  );
}

/** The tokens that a rule accepts behind a row, likeliest first, and whether one is too near a limit to say. */
export function acceptable(accept: NativeAccept, input: ReferenceInput): { tokens: number[]; near: Set<number> } {
  const law = lawFor(accept, input);
  const near = new Set<number>();
  const nearTo = (limit: number) => {
    for (const [i, id] of law.ids.entries()) if (Math.abs(law.mass[i] - limit) <= margin * limit) near.add(id);
  };
  if (accept.rule === "relaxed") {
    nearTo(law.at(law.argmax()) * Math.exp(-accept.gap));
    return { tokens: relaxedTokens(law, accept.top, accept.gap), near };
  }
  const limit = typicalThreshold(law, accept.epsilon, accept.delta);
  nearTo(limit);
  const above = Array.from(law.ids).filter((id) => law.at(id) > limit);
  return { tokens: above.sort((a, b) => law.at(b) - law.at(a) || a - b), near };
}

/** What a row with these children says. */
export function saying(accept: NativeAccept, input: ReferenceInput, children: readonly number[], ends: Set<number>) {
  const drawn = draw(input);
  if (ends.has(drawn) || children.includes(drawn)) return { token: drawn, byRule: false, near: false };
  const { tokens, near } = acceptable(accept, input);
  const token = tokens.find((id) => children.includes(id));
  return { token: token ?? drawn, byRule: token !== undefined, near: children.some((id) => near.has(id)) };
}
