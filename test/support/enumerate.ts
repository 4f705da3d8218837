// Every outcome of a program that tosses coins, with its exact probability.
import type { Law } from "../../lib/tree/law.ts";
import type { Coins } from "../../lib/verify/verifier.ts";

/** Probabilities of the results of `program` over all coins it may see; results are keyed by their string. */
export function enumerate(program: (coins: Coins) => string): Map<string, number> {
  const outcomes = new Map<string, number>();
  // The choices of the run before, as far as they are kept: the last one with something left to try goes one on.
  let script: { options: number[]; taken: number }[] = [];
  do {
    let at = 0;
    let probability = 1;
    const choose = (options: number[]) => {
      if (at === script.length) script.push({ options, taken: options.findIndex((p) => p > 0) });
      const { taken } = script[at++];
      probability *= options[taken];
      return taken;
    };
    const result = program({
      flip: (p) => choose([Math.min(1, p), Math.max(0, 1 - p)]) === 0,
      draw: (law: Law) => law.ids[choose([...law.mass])],
    });
    outcomes.set(result, (outcomes.get(result) ?? 0) + probability);
    script = advance(script.slice(0, at));
  } while (script.length > 0);
  return outcomes;
}

function advance(script: { options: number[]; taken: number }[]): { options: number[]; taken: number }[] {
  for (let i = script.length - 1; i >= 0; i--) {
    const { options, taken } = script[i];
    const next = options.findIndex((p, option) => option > taken && p > 0);
    if (next >= 0) return [...script.slice(0, i), { options, taken: next }];
  }
  return [];
}

/** Largest difference of two laws over keys of either; NaN if a probability is not a number. */
export function largestDifference(a: Map<string, number>, b: Map<string, number>): number {
  let largest = 0;
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const difference = Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}
