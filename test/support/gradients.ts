// Comparison of gradients as vectors.
import { expect } from "vitest";

/** Levels that multiply factors in bf16; the others keep f32. */
export const bf16Levels = ["avx512", "avx512-amx"];

const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** Each of `found` differs from its `expected` by at most `bound` of its length, and some of them do differ. */
export function expectNear(found: Float32Array[], expected: Float32Array[], bound: number): void {
  const apart = found.map((values, i) => norm(values.map((value, at) => value - expected[i][at])) / norm(expected[i]));
  for (const one of apart) expect(one).toBeLessThan(bound);
  expect(Math.max(...apart)).toBeGreaterThan(0);
}
