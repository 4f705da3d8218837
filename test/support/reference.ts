// Float64 references of the ops on plain arrays, each with the tolerance its f32 arithmetic earns.
// u is the unit roundoff of f32. Kernels may sum in any order that keeps 16 lanes apart: K values make chains of K / 16.

import { type Expected, tiny, unit as u } from "./close.ts";

const f = Math.fround;

function elementwise(count: number, at: (i: number) => [value: number, tolerance: number]): Expected {
  const value = new Float64Array(count);
  const tolerance = new Float64Array(count);
  for (let i = 0; i < count; i++) [value[i], tolerance[i]] = at(i);
  return { value, tolerance };
}

const sum = (values: ArrayLike<number>) =>
  Array.prototype.reduce.call(values, (a, b) => (a as number) + b, 0) as number;

/**
 * Squares are positive, so their sum has relative error (K / 16 + 4) u whatever the order within lanes; the root halves it.
 * Mean, eps, root, reciprocal and two products add one u each at most, rounded up to 8 u.
 */
export function rmsnorm(x: Float32Array, weight: Float32Array | undefined, K: number, eps: number): Expected {
  const scales = Array.from({ length: x.length / K }, (_, n) => {
    const row = x.subarray(n * K, (n + 1) * K);
    return 1 / Math.sqrt(sum(Array.from(row, (v) => v * v)) / K + f(eps));
  });
  return elementwise(x.length, (i) => {
    const value = x[i] * scales[Math.floor(i / K)] * (weight?.[i % K] ?? 1);
    return [value, Math.abs(value) * (K / 32 + 10) * u + tiny];
  });
}

/**
 * The mean is off by d = (K / 16 + 5) u mean|x|. That shifts every numerator by d, adds d^2 to the variance, and both sums
 * and the few operations after them round as in rmsnorm.
 */
export function layernorm(
  x: Float32Array,
  weight: Float32Array | undefined,
  bias: Float32Array | undefined,
  K: number,
  eps: number,
): Expected {
  const rows = Array.from({ length: x.length / K }, (_, n) => {
    const row = Array.from(x.subarray(n * K, (n + 1) * K));
    const mean = sum(row) / K;
    const variance = sum(row.map((v) => (v - mean) ** 2)) / K;
    const shift = (K / 16 + 5) * u * (sum(row.map(Math.abs)) / K);
    const relative = ((K / 16 + 8) * u * variance + shift ** 2) / (variance + f(eps));
    return { mean, shift, scale: 1 / Math.sqrt(variance + f(eps)), relative: relative / 2 + 4 * u };
  });
  return elementwise(x.length, (i) => {
    const { mean, shift, scale, relative } = rows[Math.floor(i / K)];
    const gain = scale * (weight?.[i % K] ?? 1);
    const centred = x[i] - mean;
    const value = centred * gain + (bias?.[i % K] ?? 0);
    const error = Math.abs(gain) * (shift + Math.abs(centred) * (relative + 3 * u));
    return [value, error + u * Math.abs(value) + tiny];
  });
}

/** Table entries are rounded twice, products once, the sum once: 5 u of the two terms. */
export function rope(
  x: Float32Array,
  shape: readonly [T: number, H: number, D: number],
  positions: Int32Array,
  invFreq: Float32Array,
  magnitude: number,
  interleaved: boolean,
): Expected {
  const [T, H, D] = shape;
  const value = Float64Array.from(x);
  const tolerance = new Float64Array(x.length);
  const half = invFreq.length;
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < half; i++) {
        const angle = f(f(positions[t]) * invFreq[i]);
        const [cos, sin] = [Math.cos(angle) * f(magnitude), Math.sin(angle) * f(magnitude)];
        const start = (t * H + h) * D;
        const [p, q] = interleaved ? [start + 2 * i, start + 2 * i + 1] : [start + i, start + i + half];
        const [a, b] = [x[p], x[q]];
        value[p] = a * cos - b * sin;
        value[q] = b * cos + a * sin;
        tolerance[p] = 5 * u * (Math.abs(a * cos) + Math.abs(b * sin)) + tiny;
        tolerance[q] = 5 * u * (Math.abs(b * cos) + Math.abs(a * sin)) + tiny;
      }
    }
  }
  return { value, tolerance };
}

/** erf to double precision: its power series near 0, the continued fraction of erfc beyond. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let n = 200; n >= 1; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

/**
 * silu: exp is off by 4 u, sum, quotient and product by one each: 8 u. gelu_tanh: its exponent z is off by 6 u |z|, which
 * the exponential turns into a relative error. gelu: the bound its header states, 3e-7 max(1, |x|), times up.
 * Where exp overflows, the vector result is 0 and the true one below 3e-36.
 */
export function activation(kind: string, gate: Float32Array, up: Float32Array): Expected {
  return elementwise(gate.length, (i) => {
    const x = gate[i];
    const z = kind === "silu" ? x : 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
    const act = kind === "gelu" ? 0.5 * x * (1 + erf(x / Math.SQRT2)) : x / (1 + Math.exp(-z));
    const value = act * up[i];
    const vanishing = 3e-36 * Math.abs(up[i]) + tiny;
    if (kind === "gelu") return [value, 3e-7 * Math.max(1, Math.abs(x)) * Math.abs(up[i]) + vanishing];
    const factor = kind === "silu" ? 8 : 8 + 6 * Math.min(Math.abs(z), 90);
    return [value, factor * u * Math.abs(value) + vanishing];
  });
}

/** Scores of a softmax, in double. */
const capped = (s: number, softCap: number) => (softCap > 0 ? softCap * Math.tanh(s / softCap) : s);

/**
 * A score is off by u |s| from its product, or by 5e-7 softCap from the vector tanh. The distance to the maximum doubles
 * that and rounds once; exp adds 4 u; the normaliser has the same errors, weighted, and a chain of K / 16 additions.
 * Weights below exp(-87) come out as 0.
 */
export function softmax(x: Float32Array, K: number, scale: number, softCap: number): Expected {
  const [factor, cap] = [f(scale), f(softCap)];
  const rows = Array.from({ length: x.length / K }, (_, n) => {
    const scores = Array.from(x.subarray(n * K, (n + 1) * K), (v) => capped(factor * v, cap));
    const largest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const weights = scores.map((s) => Math.exp(s - largest));
    const finite = scores.map((s) => (s === Number.NEGATIVE_INFINITY ? 0 : s));
    const magnitude = finite.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const total = sum(weights);
    const spread = sum(weights.map((w, k) => (w > 0 ? w * (largest - scores[k]) : 0))) / total;
    return { scores, largest, weights, total, spread, off: 2 * (cap > 0 ? 5e-7 * cap : u * magnitude) };
  });
  return elementwise(x.length, (i) => {
    const { scores, largest, weights, total, spread, off } = rows[Math.floor(i / K)];
    const value = weights[i % K] / total;
    if (value === 0) return [0, 2e-38]; // -inf, or too far below the maximum even for double
    const distance = largest - scores[i % K];
    const relative = 2 * off + (distance + spread) * u + (K / 16 + 4 + 12) * u;
    return [value, value * relative + 2e-38];
  });
}

/** Indices by descending value, the lowest first among equals; NaN counts as -Infinity. */
export function ranking(x: ArrayLike<number>): number[] {
  const key = (i: number) => (Number.isNaN(x[i]) ? Number.NEGATIVE_INFINITY : x[i]);
  return Array.from(x, (_, i) => i).sort((a, b) => (key(a) === key(b) ? a - b : key(a) < key(b) ? 1 : -1));
}

/**
 * Errors of the exponentials, weighted, and of partial sums of up to 64 terms, become absolute errors of the logarithm; the
 * result rounds once.
 */
export function logsumexp(x: Float32Array, V: number): Expected {
  return elementwise(x.length / V, (n) => {
    const row = Array.from(x.subarray(n * V, (n + 1) * V));
    const largest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const weights = row.map((v) => Math.exp(v - largest));
    const total = sum(weights);
    const spread = sum(weights.map((w, k) => (w > 0 ? w * (largest - row[k]) : 0))) / total;
    const value = largest + Math.log(total);
    return [value, (spread + 4 + 70) * u + u * Math.abs(value)];
  });
}
