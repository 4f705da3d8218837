import { expect, test } from "vitest";
import { f16, f32, i32, Tensor } from "../../../lib/ops/index.ts";
import { bindDims } from "../../../lib/tensor/check.ts";

const x = f32(new Float32Array(6), [2, 3]);

test("letters take the sizes they stand for", () => {
  const weight = f32([1, 2, 3], [3]);
  expect(bindDims({ x: [x, "f32[N, K]"], weight: [weight, "f32[K]"] })).toEqual({ N: 2, K: 3 });
  expect(bindDims({ x: [Tensor.zeros("f32", [4, 5, 6]), "f32[..., K]"] })).toEqual({ K: 6 });
  expect(bindDims({ x: [f16([1], [1]), "f32|f16[N]"], bias: [undefined, "f32[M]"] })).toEqual({ N: 1 });
  expect(bindDims({ x: [f32([1], []), "f32[]"], y: [x, "f32[2, 3]"] })).toEqual({});
});

test("what does not match is named", () => {
  const message = (args: Parameters<typeof bindDims>[0]) => {
    try {
      bindDims(args);
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  expect(message({ x: [x, "i32[N, K]"] })).toBe("Expected i32[N, K] for x, received f32[2, 3]");
  expect(message({ x: [x, "f32[N]"] })).toBe("Expected f32[N] for x, received f32[2, 3]");
  expect(message({ x: [i32([1], [1]), "f32[..., N, K]"] })).toBe("Expected f32[..., N, K] for x, received i32[1]");
  expect(message({ x: [[1, 2], "f32[N]"] })).toBe("Expected f32[N] for x, received an array of 2");
  expect(message({ x: [x, "f32[2, 4]"] })).toBe("Expected f32[2, 4] for x, received f32[2, 3]");
  const bias = f32([1, 2], [2]);
  expect(message({ x: [x, "f32[N, K]"], bias: [bias, "f32[K]"] })).toBe(
    "Expected f32[K] (K = 3 as in x) for bias, received f32[2]",
  );
});

test("disposed tensors and bad patterns", () => {
  const gone = f32([1], [1]);
  gone.dispose();
  expect(() => bindDims({ gone: [gone, "f32[N]"] })).toThrow(expect.objectContaining({ code: "OUTRIDER_DISPOSED" }));
  expect(() => bindDims({ x: [x, "f99[N]"] })).toThrow(expect.objectContaining({ code: "OUTRIDER_INTERNAL" }));
});
