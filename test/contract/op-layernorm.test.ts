import { describe, expect, test } from "vitest";
import { f16, f32, layernorm, opLevels } from "../../lib/ops/index.ts";
import { expectClose, expectNaN } from "../support/close.ts";
import { guarded } from "../support/guard.ts";
import { normal, oddSizes, withOutliers } from "../support/random.ts";
import * as reference from "../support/reference.ts";

describe.each(opLevels("layernorm"))("layernorm on %s", (level) => {
  test.each(oddSizes)("rows of %i", (K) => {
    for (const N of [1, 3]) {
      const [x, weight, bias] = [withOutliers(N * K, K), normal(K, K + 7), normal(K, K + 8)];
      const { out, check } = guarded([N, K]);
      layernorm({ x: f32(x, [N, K]), weight: f32(weight, [K]), bias: f32(bias, [K]), out, level });
      check("layernorm");
      expectClose(out.data, reference.layernorm(x, weight, bias, K, 1e-5), `${N} x ${K}`);
    }
  });

  test("a mean far from 0 does not cancel the variance", () => {
    const x = normal(200, 9).map((v) => v + 1000);
    const expected = reference.layernorm(x, undefined, undefined, 200, 1e-5);
    expectClose(layernorm({ x: f32(x, [1, 200]), level }).data, expected, "offset");
  });

  test("constant rows give the bias; in place; f16 input", () => {
    const x = new Float32Array(2 * 19).fill(3);
    const tensor = f32(x, [2, 19]);
    const bias = normal(19, 2);
    layernorm({ x: tensor, bias: f32(bias, [19]), out: tensor, level });
    const same = new Float32Array(2 * 19).fill(3);
    expectClose(x, reference.layernorm(same, undefined, bias, 19, 1e-5), "constant");
    const half = f16(Array.from(normal(37, 3)), [37]);
    const expected = reference.layernorm(half.toFloat32(), undefined, undefined, 37, 1e-5);
    expectClose(layernorm({ x: half, level }).data, expected, "f16");
  });

  test("NaN and Infinity spoil their row and no other", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const x = normal(3 * 35, 5);
      x[35 + 20] = bad;
      const y = layernorm({ x: f32(x, [3, 35]), level }).data;
      expectNaN(y.subarray(35, 70), `row with ${bad}`);
      expect(y.subarray(0, 35).every(Number.isFinite) && y.subarray(70).every(Number.isFinite)).toBe(true);
    }
  });
});
