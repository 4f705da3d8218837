import { describe, expect, test } from "vitest";
import { bf16, f16, f32, opLevels, rmsnorm } from "../../lib/ops/index.ts";
import { expectClose, expectNaN } from "../support/close.ts";
import { guarded } from "../support/guard.ts";
import { normal, oddSizes, withOutliers } from "../support/random.ts";
import * as reference from "../support/reference.ts";

describe.each(opLevels("rmsnorm"))("rmsnorm on %s", (level) => {
  test.each(oddSizes)("rows of %i", (K) => {
    for (const [N, eps] of [
      [1, 1e-6],
      [3, 1e-5],
    ]) {
      const [x, weight] = [withOutliers(N * K, K), normal(K, K + 7)];
      const { out, check } = guarded([N, K]);
      rmsnorm({ x: f32(x, [N, K]), weight: f32(weight, [K]), eps, out, level });
      check("rmsnorm");
      expectClose(out.data, reference.rmsnorm(x, weight, K, eps), `${N} x ${K}`);
    }
  });

  test("without weight, with a row of zeros, in place", () => {
    const x = normal(2 * 33, 1).fill(0, 33);
    const expected = reference.rmsnorm(x, undefined, 33, 1e-6);
    const tensor = f32(x, [2, 33]);
    rmsnorm({ x: tensor, out: tensor, level });
    expectClose(x, expected, "in place");
  });

  test("a view with gaps between rows, and 16-bit inputs", () => {
    const wide = f32(normal(5 * 40, 3), [5, 40]);
    const view = wide.columns(3, 24);
    const expected = reference.rmsnorm(view.toFloat32(), undefined, 21, 1e-6);
    expectClose(rmsnorm({ x: view, level }).data, expected, "columns");
    for (const make of [f16, bf16]) {
      const x = make(Array.from(normal(2 * 19, 4)), [2, 19]);
      expectClose(rmsnorm({ x, level }).data, reference.rmsnorm(x.toFloat32(), undefined, 19, 1e-6), x.dtype);
    }
  });

  test("a NaN spoils its row and no other", () => {
    const x = normal(3 * 35, 5);
    x[35 + 34] = Number.NaN;
    const y = rmsnorm({ x: f32(x, [3, 35]), level }).data;
    expectNaN(y.subarray(35, 70), "row with NaN");
    const clean = reference.rmsnorm(x.subarray(0, 35), undefined, 35, 1e-6);
    expectClose(y.subarray(0, 35), clean, "row before");
    expect(y.subarray(70).every(Number.isFinite)).toBe(true);
  });

  test("a row's bits do not depend on the other rows", () => {
    const x = normal(4 * 77, 6);
    const all = rmsnorm({ x: f32(x, [4, 77]), level }).data;
    const alone = rmsnorm({ x: f32(x.subarray(2 * 77, 3 * 77), [1, 77]), level }).data;
    expect(all.subarray(2 * 77, 3 * 77)).toEqual(alone);
  });
});
