// Coins that depend on a seed and a position alone, so that a run can be repeated.

import type { Law } from "../tree/law.ts";
import type { Coins } from "./verifier.ts";

/** One round of a 32-bit mixer (the finaliser of MurmurHash3). */
function mix(x: number): number {
  let y = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  y = Math.imul(y ^ (y >>> 13), 0xc2b2ae35);
  return (y ^ (y >>> 16)) >>> 0;
}

/** The token of a law at `u` in [0, 1) of its mass. */
export function tokenAt(law: Law, u: number): number {
  let left = u;
  for (const [i, mass] of law.mass.entries()) {
    left -= mass;
    if (left < 0) return law.ids[i];
  }
  return law.ids[law.ids.length - 1]; // the masses sum to a little less than u
}

/**
 * Coins for one step.
 * @param seed any integer
 * @param position of the root of the step's tree: two steps of a run never share it
 */
export function keyedCoins(seed: bigint, position: number): Coins {
  const low = Number(BigInt.asUintN(32, seed));
  const high = Number(BigInt.asUintN(32, seed >> 32n));
  const key = mix(mix(mix(low) ^ high) ^ mix(position + 0x9e3779b9));
  let draws = 0;
  const uniform = () => {
    draws += 1;
    const a = mix(key ^ mix(Math.imul(draws, 0x9e3779b9)));
    const b = mix(a ^ mix(key + draws));
    return (a * 2 ** 21 + (b >>> 11)) / 2 ** 53;
  };
  return { flip: (p) => uniform() < p, draw: (law) => tokenAt(law, uniform()) };
}
