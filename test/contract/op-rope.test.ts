import { describe, expect, test } from "vitest";
import { f32, i32, opLevels, rope, ropeFrequencies } from "../../lib/ops/index.ts";
import { expectClose } from "../support/close.ts";
import { guarded } from "../support/guard.ts";
import { normal } from "../support/random.ts";
import * as reference from "../support/reference.ts";

const shapes = [
  [1, 1, 2, 2],
  [3, 2, 6, 6],
  [2, 3, 64, 64],
  [5, 1, 80, 32], // partial: channels 32 to 79 stay
  [1, 4, 34, 34],
  [7, 2, 66, 50],
] as const;

describe.each(opLevels("rope"))("rope on %s", (level) => {
  for (const interleaved of [false, true]) {
    test.each(shapes)(`[%i, %i, %i], %i rotary channels, interleaved: ${interleaved}`, (T, H, D, dim) => {
      const x = normal(T * H * D, D);
      const positions = Int32Array.from({ length: T }, (_, t) => [0, 1, 63, 64, 4095, 131071, 7][t]);
      const frequencies = ropeFrequencies({ type: "default", theta: 10000, dim });
      for (const magnitude of [1, 1.2079]) {
        const { out, check } = guarded([T, H, D]);
        out.data.set(x);
        rope({
          x: out,
          positions: i32(positions, [T]),
          frequencies: { ...frequencies, magnitude },
          interleaved,
          level,
        });
        check("rope");
        const shape = [T, H, D] as const;
        const expected = reference.rope(x, shape, positions, frequencies.invFreq, magnitude, interleaved);
        expectClose(out.data, expected, `magnitude ${magnitude}`);
      }
    });
  }

  test("NaN stays within its pair", () => {
    const x = normal(32, 1);
    x[3] = Number.NaN;
    const frequencies = ropeFrequencies({ type: "default", theta: 10000, dim: 32 });
    rope({ x: f32(x, [1, 1, 32]), positions: i32([5], [1]), frequencies, level });
    const bad = Array.from(x.keys()).filter((i) => Number.isNaN(x[i]));
    expect(bad).toEqual([3, 19]);
  });

  test("position 0 changes nothing, and norms of pairs are kept", () => {
    const frequencies = ropeFrequencies({ type: "default", theta: 500000, dim: 16 });
    const x = normal(16, 2);
    const turned = x.slice();
    rope({ x: f32(turned, [1, 1, 16]), positions: i32([0], [1]), frequencies, level });
    expect(turned).toEqual(x);
    rope({ x: f32(turned, [1, 1, 16]), positions: i32([1234], [1]), frequencies, level });
    for (let i = 0; i < 8; i++) expect(Math.hypot(turned[i], turned[i + 8])).toBeCloseTo(Math.hypot(x[i], x[i + 8]), 5);
  });
});

test("more frequencies than pairs of channels are refused", () => {
  const frequencies = { invFreq: new Float32Array(3), magnitude: 1 };
  expect(() => rope({ x: f32([1, 2, 3, 4], [1, 1, 4]), positions: i32([0], [1]), frequencies })).toThrow(
    expect.objectContaining({ code: "OUTRIDER_SHAPE" }),
  );
});
