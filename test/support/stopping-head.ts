// Stopping heads: made at random, written to files, and computed in float64 with how far f32 may be from that.
import type { NativeLinear, NativeStoppingHeadOptions } from "../../lib/native.ts";
import { type Expected, tiny, unit as u } from "./close.ts";
import { bytesOf, safetensorsBytes, safetensorsHeader } from "./micro-model.ts";
import { normal } from "./random.ts";

/** Weights whose blocks together change about half of a state. */
export function randomHead(hidden: number, blocks: number, seed: number): NativeStoppingHeadOptions {
  const layer = (rows: number, at: number, scale: number): NativeLinear => ({
    weight: normal(rows * hidden, seed + 2 * at, scale * hidden ** -0.5),
    bias: normal(rows, seed + 2 * at + 1, 0.3),
  });
  return {
    hidden,
    blocks: Array.from({ length: blocks }, (_, i) => layer(hidden, i, blocks ** -0.5)),
    classes: layer(2, blocks, 1),
  };
}

/** A head that says the same of every state: 0 or 1, exactly. */
export function sureHead(hidden: number, accept: boolean): NativeStoppingHeadOptions {
  const classes = {
    weight: new Float32Array(2 * hidden),
    bias: accept ? Float32Array.of(-100, 100) : Float32Array.of(100, -100),
  };
  return { hidden, blocks: [], classes };
}

/** The tensors of a head's file. */
export const headTensors = ({ hidden, blocks, classes }: NativeStoppingHeadOptions) =>
  Object.fromEntries(
    [...blocks, classes].flatMap(({ weight, bias }, i) => {
      const name = i < blocks.length ? `blocks.${i}` : "classes";
      return [
        [`${name}.weight`, { dtype: "F32", shape: [bias.length, hidden], data: bytesOf(weight) }],
        [`${name}.bias`, { dtype: "F32", shape: [bias.length], data: bytesOf(bias) }],
      ];
    }),
  );

/** A head's file; `about` replaces members of its metadata. */
export function headFile(head: NativeStoppingHeadOptions, about: object, tensors = headTensors(head)): Buffer {
  const text = JSON.stringify({ version: 1, hidden: head.hidden, blocks: head.blocks.length, ...about });
  return safetensorsBytes(
    JSON.stringify({ ...safetensorsHeader(tensors), __metadata__: { "outrider.head": text } }),
    tensors,
  );
}

/**
 * One state, that may be off by `off` itself. A layer's sum is a chain of K products and a bias, off by (K + 2) u of their magnitudes; silu is off by 8 u (reference.ts,
 * activation), a sum by u. Each of these moves the difference of the logits by itself times the derivative there, to first order; twice that is allowed. The logistic
 * function turns it into p (1 - p) times that; exp, sum and quotient add 4 u.
 */
function acceptanceOf({ hidden: K, blocks, classes }: NativeStoppingHeadOptions, state: number[], off: number[]) {
  const linear = ({ weight, bias }: NativeLinear, x: number[]) =>
    Array.from(bias, (b, row) => {
      let [value, magnitude] = [b, Math.abs(b)];
      for (let k = 0; k < K; k++) {
        value += weight[row * K + k] * x[k];
        magnitude += Math.abs(weight[row * K + k] * x[k]);
      }
      return { value, error: (K + 2) * u * magnitude };
    });
  let x = state;
  const done = blocks.map(({ weight, bias }) => {
    const sums = linear({ weight, bias }, x);
    const silu = sums.map(({ value }) => value / (1 + Math.exp(-value)));
    x = x.map((value, k) => value + silu[k]);
    return { weight, sums, silu, after: x };
  });
  const [rejected, accepted] = linear(classes, x);
  const difference = rejected.value - accepted.value;
  let error = rejected.error + accepted.error + u * Math.abs(difference);
  let slope = x.map((_, k) => classes.weight[k] - classes.weight[K + k]);
  for (const { weight, sums, silu, after } of done.reverse()) {
    const branch = sums.map(({ value }, k) => {
      const logistic = 1 / (1 + Math.exp(-value));
      return slope[k] * logistic * (1 + value * (1 - logistic));
    });
    for (let k = 0; k < K; k++) {
      error += Math.abs(slope[k]) * (u * Math.abs(after[k]) + 8 * u * Math.abs(silu[k]) + 3e-36);
      error += Math.abs(branch[k]) * sums[k].error;
    }
    slope = slope.map((value, k) => branch.reduce((sum, by, row) => sum + by * weight[row * K + k], value));
  }
  error += slope.reduce((sum, value, k) => sum + Math.abs(value) * off[k], 0);
  if (!(error < 0.1)) throw new Error(`a head that is off by ${error} cannot be compared`);
  const value = 1 / (1 + Math.exp(difference));
  return { value, tolerance: 2 * error * value * (1 - value) + 4 * u * value + tiny };
}

/** What a head says of states `[N, hidden]`, each of which may be off by `off`. */
export function expectedAcceptance(
  head: NativeStoppingHeadOptions,
  states: ArrayLike<number>,
  off: ArrayLike<number> = new Float64Array(states.length),
): Expected {
  const rows = Array.from({ length: states.length / head.hidden }, (_, n) => {
    const row = (values: ArrayLike<number>) =>
      Array.from({ length: head.hidden }, (_, k) => values[n * head.hidden + k]);
    return acceptanceOf(head, row(states), row(off));
  });
  return { value: rows.map(({ value }) => value), tolerance: rows.map(({ tolerance }) => tolerance) };
}
