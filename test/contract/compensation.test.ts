// What a layer should be on inputs that are no longer the original's: the normal equations it must satisfy, in float64.
import { describe, expect, test } from "vitest";
import { opLevels } from "../../lib/ops/index.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { normal } from "../support/random.ts";

/** Inputs X of n tokens, and those of the original, Y = X + noise: H = X^T X / n, C = Y^T X / n. */
function sample(M: number, d: number, n: number, noise: number) {
  const common = normal(n, 1);
  const X = Float64Array.from(normal(n * d, 2), (x, i) => (x + common[Math.floor(i / d)]) * (1 + (i % d) / d));
  const other = normal(n * d, 3);
  const Y = X.map((x, i) => x + noise * other[i] - noise * X[i - (i % d)]);
  const moments = (A: Float64Array) =>
    Float32Array.from({ length: d * d }, (_, at) => {
      let sum = 0;
      for (let t = 0; t < n; t++) sum += A[t * d + Math.floor(at / d)] * X[t * d + (at % d)];
      return sum / n;
    });
  return { W: normal(M * d, 4), X, Y, H: moments(X), C: moments(Y), M, d, n };
}

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));

describe.each(opLevels("gemm"))("compensated weights on %s", (level) => {
  test.each([
    [1, 1, 8],
    [3, 7, 40],
    [5, 64, 30],
    [9, 130, 400],
  ])("%i outputs, %i inputs, %i tokens", (M, d, n) => {
    const { W, H, C } = sample(M, d, n, 0.3);
    const V = nativeOps.compensated(W, H, C, M, d, level);
    // (V - W) (H + damping) = W (C - H): 1 % of the mean diagonal by damp(), and 1 % of the new one by the factor.
    let mean = 0;
    for (let i = 0; i < d; i++) mean += H[i * d + i] / d;
    const damping = (0.01 + 0.01 * 1.01) * mean;
    const size = norm(C.map((c, i) => c - H[i]));
    for (let m = 0; m < M; m++) {
      const x = Float64Array.from({ length: d }, (_, i) => V[m * d + i] - W[m * d + i]);
      const left = Float64Array.from({ length: d }, (_, j) => {
        let sum = damping * x[j];
        for (let i = 0; i < d; i++) sum += x[i] * H[i * d + j] - W[m * d + i] * (C[i * d + j] - H[i * d + j]);
        return sum;
      });
      const row = norm(W.subarray(m * d, (m + 1) * d));
      // Products in f32, the factor and the result stored as f32: each off by 2^-24 of what is summed, over d terms.
      const bound = 2 * d * 2 ** -24 * (row * size + (2 * norm(x) + row) * d * (mean + damping));
      expect(norm(left)).toBeLessThanOrEqual(bound);
    }
  });

  test("inputs that have not changed leave weights as they are", () => {
    const { W, H, M, d } = sample(4, 24, 100, 0);
    expect(Array.from(nativeOps.compensated(W, H, H, M, d, level))).toEqual(Array.from(W));
  });
});

test("outputs on changed inputs come nearer to the original's", () => {
  const { W, X, Y, H, C, M, d, n } = sample(6, 32, 2000, 0.3);
  const V = nativeOps.compensated(W, H, C, M, d);
  const error = (weights: Float32Array) => {
    let sum = 0;
    for (let t = 0; t < n; t++) {
      for (let m = 0; m < M; m++) {
        let lost = 0;
        for (let i = 0; i < d; i++) lost += weights[m * d + i] * X[t * d + i] - W[m * d + i] * Y[t * d + i];
        sum += lost * lost;
      }
    }
    return sum;
  };
  expect(error(V)).toBeLessThan(0.9 * error(W));
});

test("statistics that are not finite are refused", () => {
  const { W, H, C, M, d } = sample(2, 8, 20, 0.1);
  expect(() => nativeOps.compensated(W, H.with(9, Number.NaN), C, M, d)).toThrow(/finite/);
});
