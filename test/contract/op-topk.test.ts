import { describe, expect, test } from "vitest";
import { argmax, f16, f32, logsumexp, opLevels, topk } from "../../lib/ops/index.ts";
import { expectClose } from "../support/close.ts";
import { normal, oddSizes, uniform, withOutliers } from "../support/random.ts";
import * as reference from "../support/reference.ts";

describe.each(opLevels("topk"))("topk on %s", (level) => {
  test.each(oddSizes)("rows of %i", (V) => {
    const N = 3;
    const x = withOutliers(N * V, V);
    for (const k of new Set([1, Math.min(V, 5), Math.min(V, 40), V])) {
      const found = topk({ x: f32(x, [N, V]), k, level });
      for (let n = 0; n < N; n++) {
        const row = x.subarray(n * V, (n + 1) * V);
        const best = reference.ranking(row).slice(0, k);
        expect(Array.from(found.ids.row(n).toFloat32())).toEqual(best);
        expect(found.values.row(n).toFloat32()).toEqual(Float32Array.from(best, (i) => row[i]));
      }
      expectClose(found.logsumexp.data, reference.logsumexp(x, V), `logsumexp of ${V}`);
    }
  });

  test("a vocabulary of 50021, with many ties", () => {
    const next = uniform(11);
    const x = Float32Array.from({ length: 50021 }, () => Math.floor(next() * 300) / 10);
    const found = topk({ x: f32(x, [1, 50021]), k: 64, level });
    expect(Array.from(found.ids.data)).toEqual(reference.ranking(x).slice(0, 64));
    expectClose(found.logsumexp.data, reference.logsumexp(x, 50021), "logsumexp");
  });

  test("equal entries rank by index; zeros of both signs are equal", () => {
    const x = f32([1, 3, 3, 0, -0, 3, 2], [1, 7]);
    expect(Array.from(topk({ x, k: 7, level }).ids.data)).toEqual([1, 2, 5, 6, 0, 3, 4]);
    expect(argmax({ x, level }).data[0]).toBe(1);
  });

  test("a NaN never wins", () => {
    for (const at of [0, 16, 34]) {
      const x = normal(35, 3);
      x[at] = Number.NaN;
      const { ids, logsumexp: normaliser } = topk({ x: f32(x, [1, 35]), k: 34, level });
      expect(Array.from(ids.data)).toEqual(reference.ranking(x).slice(0, 34));
      expect(Array.from(ids.data)).not.toContain(at);
      expect(normaliser.data[0]).toBeNaN();
    }
  });

  test("infinities", () => {
    const x = normal(40, 4);
    x[3] = Number.NEGATIVE_INFINITY;
    expectClose(logsumexp({ x: f32(x, [1, 40]), level }).data, reference.logsumexp(x, 40), "-Infinity adds nothing");
    x[21] = Number.POSITIVE_INFINITY;
    const { ids, logsumexp: normaliser } = topk({ x: f32(x, [1, 40]), k: 1, level });
    expect(ids.data[0]).toBe(21);
    expect(normaliser.data[0]).toBeNaN();
  });

  test("views with gaps, f16", () => {
    const wide = f32(normal(4 * 60, 5), [4, 60]);
    const view = wide.columns(7, 47);
    const plain = f32(view.toFloat32(), [4, 40]);
    const [gaps, dense] = [topk({ x: view, k: 3, level }), topk({ x: plain, k: 3, level })];
    for (const name of ["ids", "values", "logsumexp"] as const) expect(gaps[name].data).toEqual(dense[name].data);
    const half = f16([1, 5, 2], [1, 3]);
    expect(Array.from(topk({ x: half, k: 2, level }).values.data)).toEqual([5, 2]);
  });
});

test("k outside the row is refused", () => {
  for (const k of [0, 4, 1.5, Number.NaN]) {
    expect(() => topk({ x: f32([1, 2, 3], [1, 3]), k })).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }),
    );
  }
});
