// Which parts of a model can be left out while it drafts for itself: searched while it drafts.

import type { Learnt } from "./keep.ts";

/** Drafted steps after which a mask is judged. */
const trial = 12;
/** Parts that a new candidate has otherwise than the best one. */
const changes = 2;
/** Of an earlier judgement of the best mask at each new one. */
const decay = 0.8;

/** Layers whose attention or feed-forward part is left out: 1, or 0. */
export interface SkipMask {
  attention: Uint8Array;
  mlp: Uint8Array;
}

/** Whole layers at even distances, but for the first and the last one, until `share` of all parts is left out. */
function evenMask(layers: number, share: number): Uint8Array {
  const mask = new Uint8Array(2 * layers);
  const inner = Math.max(0, layers - 2);
  const count = Math.min(2 * inner, Math.round(share * 2 * layers));
  const whole = Math.floor(count / 2);
  for (let i = 0; i < whole; i++) {
    const first = 2 + 2 * Math.floor(((i + 0.5) * inner) / whole);
    mask.fill(1, first, first + 2);
  }
  return mask;
}

/**
 * Online search for a mask (SWIFT, arXiv:2410.06916, by local changes instead of Bayesian optimisation): a candidate differs from the best mask in two parts and is
 * drafted with for some steps; it becomes the best if its tokens for the time of a whole pass are more. The number of parts left out stays.
 */
export class SkipSearch implements Learnt {
  readonly #layers: number;
  #best: Uint8Array;
  #bestScore: number | undefined;
  #candidate: Uint8Array;
  #tokens = 0;
  #cost = 0;
  #steps = 0;
  #state = 0x9e3779b9;

  /** @param share of attention and feed-forward parts that are left out */
  constructor(layers: number, share: number) {
    this.#layers = layers;
    this.#best = evenMask(layers, share);
    this.#candidate = this.#best;
  }

  #random(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * below);
  }

  /** The mask to draft with next. */
  get mask(): SkipMask {
    const of = (part: number) =>
      Uint8Array.from({ length: this.#layers }, (_, layer) => this.#candidate[2 * layer + part]);
    return { attention: of(0), mlp: of(1) };
  }

  /** Share of all parts that run. */
  get kept(): number {
    return 1 - this.#best.reduce((sum, part) => sum + part, 0) / this.#best.length;
  }

  /** Notes a draft of the mask: tokens that it brought, the model's own included, of so many drafted. */
  observe(tokens: number, drafted: number): void {
    this.#tokens += tokens;
    this.#cost += 1 + drafted * this.kept;
    this.#steps += 1;
    if (this.#steps < trial) return;
    const score = this.#tokens / this.#cost;
    if (this.#candidate === this.#best)
      this.#bestScore = this.#bestScore === undefined ? score : decay * this.#bestScore + (1 - decay) * score;
    else if (score > (this.#bestScore ?? 0)) [this.#best, this.#bestScore] = [this.#candidate, score];
    // The best is judged again between candidates: texts change.
    this.#candidate = this.#candidate === this.#best ? this.#changed() : this.#best;
    [this.#tokens, this.#cost, this.#steps] = [0, 0, 0];
  }

  /** The best mask with two parts exchanged: one that is left out comes back for one that is not. */
  #changed(): Uint8Array {
    const mask = this.#best.slice();
    const places = (value: number) =>
      [...mask.keys()].filter((i) => mask[i] === value && i >= 2 && i < mask.length - 2);
    for (let i = 0; i < changes / 2; i++) {
      const [on, off] = [places(1), places(0)];
      if (on.length === 0 || off.length === 0) break;
      mask[on[this.#random(on.length)]] = 0;
      mask[off[this.#random(off.length)]] = 1;
    }
    return mask;
  }

  toInts(): Int32Array {
    return Int32Array.from(this.#best);
  }

  fromInts(ints: Int32Array): boolean {
    if (ints.length !== this.#best.length || ints.some((part) => part !== 0 && part !== 1)) return false;
    this.#best = Uint8Array.from(ints);
    this.#candidate = this.#best;
    return true;
  }
}
