import { expect, test } from "vitest";
import {
  arrayOf,
  codeBits,
  fromBf16,
  fromF16,
  holds,
  isDType,
  plainTypes,
  toBf16,
  toF16,
} from "../../../lib/tensor/dtype.ts";
import { normal } from "../../support/random.ts";

test("every f16 survives the way there and back", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = fromF16(bits);
    if (Number.isNaN(value)) expect(toF16(value) & 0x7c00).toBe(0x7c00);
    else if (toF16(value) !== bits) throw new Error(`${bits} came back as ${toF16(value)}`);
  }
});

test("f16 rounds to nearest, ties to even, and overflows to infinity", () => {
  expect(fromF16(toF16(1 + 2 ** -11))).toBe(1);
  expect(fromF16(toF16(1 + 3 * 2 ** -11))).toBe(1 + 2 ** -9);
  expect(fromF16(toF16(65519.99))).toBe(65504);
  expect(fromF16(toF16(65520))).toBe(Number.POSITIVE_INFINITY);
  expect(fromF16(toF16(2 ** -25))).toBe(0);
  expect(fromF16(toF16(2 ** -25 * 1.01))).toBe(2 ** -24);
  for (const value of normal(2000, 1, 3)) {
    expect(Math.abs(fromF16(toF16(value)) - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -11, 2 ** -25));
  }
});

test("bf16 is the upper half of an f32, rounded to nearest", () => {
  expect(fromBf16(0x3f80)).toBe(1);
  expect(fromBf16(toBf16(1 + 2 ** -8))).toBe(1);
  expect(fromBf16(toBf16(1 + 3 * 2 ** -8))).toBe(1 + 2 ** -6);
  expect(toBf16(Number.NaN) & 0x7fff).toBeGreaterThan(0x7f80);
  expect(fromBf16(toBf16(Number.NEGATIVE_INFINITY))).toBe(Number.NEGATIVE_INFINITY);
  for (const value of normal(2000, 2, 3)) {
    expect(Math.abs(fromBf16(toBf16(value)) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -8);
  }
});

test("names, arrays and code widths", () => {
  expect(plainTypes.map((type) => arrayOf(type).BYTES_PER_ELEMENT)).toEqual([8, 4, 2, 2, 4, 4, 1, 1]);
  expect(["affine2", "affine3", "affine4", "affine8", "f32"].map((type) => codeBits(type as "f32"))).toEqual([
    2, 3, 4, 8, 0,
  ]);
  expect([isDType("bf16"), isDType("f8"), isDType("toString"), isDType(3)]).toEqual([true, false, false, false]);
  expect([holds("f16", new Uint16Array(1)), holds("f32", new Float64Array(1)), holds("u8", [1])]).toEqual([
    true,
    false,
    false,
  ]);
});
