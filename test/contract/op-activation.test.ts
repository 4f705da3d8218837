import { describe, expect, test } from "vitest";
import { activation, f16, f32, opLevels } from "../../lib/ops/index.ts";
import { expectClose } from "../support/close.ts";
import { guarded } from "../support/guard.ts";
import { normal, oddSizes } from "../support/random.ts";
import * as reference from "../support/reference.ts";

const kinds = ["silu", "gelu_tanh", "gelu"] as const;

test("the reference erf", () => {
  // Abramowitz and Stegun, table 7.1.
  expect(reference.erf(0.5)).toBeCloseTo(0.5204998778130465, 14);
  expect(reference.erf(2)).toBeCloseTo(0.9953222650189527, 14);
  expect(reference.erf(-3)).toBeCloseTo(-0.9999779095030014, 14);
  expect(reference.erf(2.4999999)).toBeCloseTo(reference.erf(2.5000001), 8);
});

describe.each(opLevels("activation"))("activation on %s", (level) => {
  test.each(kinds)("%s, odd sizes", (kind) => {
    for (const n of oddSizes) {
      const [gate, up] = [normal(n, n, 3), normal(n, n + 1)];
      const { out, check } = guarded([n]);
      activation({ kind, gate: f32(gate, [n]), up: f32(up, [n]), out, level });
      check(kind);
      expectClose(out.data, reference.activation(kind, gate, up), `${kind} ${n}`);
    }
  });

  test.each(kinds)("%s over its whole range", (kind) => {
    // Dense where the function bends, sparse up to where exponentials vanish and overflow.
    const gate = Float32Array.from({ length: 4001 }, (_, i) => ((i - 2000) / 2000) ** 3 * 200);
    const up = new Float32Array(gate.length).fill(1.5);
    const y = activation({ kind, gate: f32(gate, [4001]), up: f32(up, [4001]), level });
    expectClose(y.data, reference.activation(kind, gate, up), kind);
  });

  test.each(kinds)("%s of NaN, infinities, zeros and huge numbers", (kind) => {
    const gate = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, 0, 3e38, -3e38, -0);
    const up = new Float32Array(6).fill(1);
    const y = activation({ kind, gate: f32(gate, [6]), up: f32(up, [6]), level }).data;
    expect(y[0]).toBeNaN();
    expect(Array.from(y.subarray(1)).map(Math.abs)).toEqual([Number.POSITIVE_INFINITY, 0, Math.fround(3e38), 0, 0]);
    up[2] = Number.NaN;
    expect(activation({ kind, gate: f32(gate, [6]), up: f32(up, [6]), level }).data[2]).toBeNaN();
  });

  test("in place, and f16 inputs", () => {
    const [gate, up] = [normal(35, 1), normal(35, 2)];
    const expected = reference.activation("silu", gate, up);
    const tensor = f32(gate, [5, 7]);
    activation({ kind: "silu", gate: tensor, up: f32(up, [5, 7]), out: tensor, level });
    expectClose(gate, expected, "in place");
    const half = f16(Array.from(up), [35]);
    const both = activation({ kind: "gelu", gate: half, up: half, level });
    expectClose(both.data, reference.activation("gelu", half.toFloat32(), half.toFloat32()), "f16");
  });
});

test("shapes that differ and unknown kinds are refused", () => {
  const [gate, up] = [f32([1, 2], [2]), f32([1, 2], [1, 2])];
  expect(() => activation({ kind: "silu", gate, up: up as never })).toThrow(
    /Expected .*\[2\] for up, received f32\[1, 2\]/,
  );
  expect(() => activation({ kind: "relu" as never, gate, up: gate })).toThrow(/silu, gelu_tanh or gelu/);
});
