// The divergence of an output head and its gradients against central differences in float64.
import { describe, expect, test } from "vitest";
import { opLevels } from "../../lib/ops/index.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { bf16Levels, expectNear } from "../support/gradients.ts";
import { normal } from "../support/random.ts";

const [T, hidden, vocab] = [5, 12, 37];
const sample = {
  ...{ T, hidden, vocab, eps: 1e-5, logitScale: 0.7 },
  x: normal(T * hidden, 1, 2),
  teacher: normal(T * hidden, 2),
  norm: normal(hidden, 3, 0.2).map((value) => 1 + value),
  head: normal(vocab * hidden, 4, 0.6),
  teacherHead: normal(vocab * hidden, 5, 0.6),
};

/** x after its norm. */
function normed(t: number): number[] {
  const x = Array.from(sample.x.subarray(t * hidden, (t + 1) * hidden));
  const size = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / hidden + sample.eps);
  return x.map((value, i) => (value / size) * sample.norm[i]);
}

function law(z: ArrayLike<number>, head: Float32Array): number[] {
  const logits = Array.from({ length: vocab }, (_, v) => {
    let sum = 0;
    for (let i = 0; i < hidden; i++) sum += head[v * hidden + i] * z[i];
    return sum * sample.logitScale;
  });
  const top = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
  return logits.map((logit) => logit - top - Math.log(total));
}

/** KL(teacher | student), the mean over tokens. */
function lossOf(): number {
  let loss = 0;
  for (let t = 0; t < T; t++) {
    const own = law(normed(t), sample.head);
    const wanted = law(sample.teacher.subarray(t * hidden, (t + 1) * hidden), sample.teacherHead);
    loss += wanted.reduce((sum, log, v) => sum + Math.exp(log) * (log - own[v]), 0) / T;
  }
  return loss;
}

describe.each(opLevels("gemm"))("head gradients on %s", (level) => {
  test("the divergence and its gradients by inputs and norm", () => {
    const found = nativeOps.headGradients(sample, level);
    expect(found.loss / lossOf()).toBeCloseTo(1, 5);
    for (const [name, values, gradient] of [
      ["x", sample.x, found.x],
      ["norm", sample.norm, found.norm],
    ] as const) {
      expect(gradient.length).toBe(values.length);
      const size = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0) / gradient.length);
      expect(size).toBeGreaterThan(0);
      for (let i = 0; i < values.length; i++) {
        const before = values[i];
        values[i] = before + 2 ** -8; // steps that f32 holds
        const above = values[i] - before;
        const high = lossOf();
        values[i] = before - 2 ** -8;
        const below = before - values[i];
        const low = lossOf();
        values[i] = before;
        expect(Math.abs((high - low) / (above + below) - gradient[i]), `${name} ${i}`).toBeLessThan(
          2e-3 * size + 1e-3 * Math.abs(gradient[i]),
        );
      }
    }
  });

  test("factors in bf16", () => {
    const exact = nativeOps.headGradients(sample, level);
    const rounded = nativeOps.headGradients({ ...sample, bf16: true }, level);
    // As in block-gradient.test.ts: two products in a row, of which the first moves probabilities by logits of a few
    // units.
    if (bf16Levels.includes(level)) expectNear([rounded.x, rounded.norm], [exact.x, exact.norm], 4 * 2 ** -8);
    else expect(rounded).toEqual(exact);
  });

  test("a student that is its teacher has nothing to lose", () => {
    const teacher = Float32Array.from(Array.from({ length: T }, (_, t) => normed(t)).flat());
    const same = { ...sample, teacher, teacherHead: sample.head };
    const found = nativeOps.headGradients(same, level);
    expect(Math.abs(found.loss)).toBeLessThan(1e-6);
    for (const value of found.x) expect(Math.abs(value)).toBeLessThan(1e-6);
  });
});
