import { describe, expect, test } from "vitest";
import { bf16, f32, opLevels, softmax } from "../../lib/ops/index.ts";
import { expectClose, expectNaN } from "../support/close.ts";
import { guarded } from "../support/guard.ts";
import { normal, oddSizes, withOutliers } from "../support/random.ts";
import * as reference from "../support/reference.ts";

describe.each(opLevels("softmax"))("softmax on %s", (level) => {
  test.each(oddSizes)("rows of %i", (K) => {
    for (const [N, scale, softCap] of [
      [1, 1, 0],
      [3, 0.125, 0],
      [2, 1, 30],
      [2, -0.7, 50],
    ]) {
      const x = withOutliers(N * K, K);
      const { out, check } = guarded([N, K]);
      softmax({ x: f32(x, [N, K]), scale, softCap, out, level });
      check("softmax");
      expectClose(out.data, reference.softmax(x, K, scale, softCap), `${N} x ${K}, scale ${scale}, cap ${softCap}`);
    }
  });

  test("rows sum to 1, large offsets cancel, in place, bf16 input", () => {
    const x = normal(2 * 50, 1).map((v) => v + 10000);
    const expected = reference.softmax(x, 50, 1, 0);
    const tensor = f32(x, [2, 50]);
    softmax({ x: tensor, out: tensor, level });
    expectClose(x, expected, "offset");
    expect(x.subarray(0, 50).reduce((a, b) => a + b)).toBeCloseTo(1, 5);
    const half = bf16(Array.from(normal(21, 3)), [21]);
    expectClose(softmax({ x: half, level }).data, reference.softmax(half.toFloat32(), 21, 1, 0), "bf16");
  });

  test("-Infinity weighs exactly nothing", () => {
    const x = normal(40, 2);
    x[0] = x[17] = x[39] = Number.NEGATIVE_INFINITY;
    const y = softmax({ x: f32(x, [1, 40]), level }).data;
    expect([y[0], y[17], y[39]]).toEqual([0, 0, 0]);
    expectClose(y, reference.softmax(x, 40, 1, 0), "masked");
  });

  test("NaN, Infinity and rows without a finite entry give NaN", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const at of [0, 20, 36]) {
        const x = normal(37, 4);
        x[at] = bad;
        expectNaN(softmax({ x: f32(x, [1, 37]), level }).data, `${bad} at ${at}`);
      }
    }
    const empty = new Float32Array(18).fill(Number.NEGATIVE_INFINITY);
    expectNaN(softmax({ x: f32(empty, [1, 18]), level }).data, "all masked");
  });
});
