import { describe, expect, test } from "vitest";
import { opLevels } from "../../lib/ops/index.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { fromBf16, fromF16, toBf16, toF16 } from "../../lib/tensor/dtype.ts";
import { withOutliers } from "../support/random.ts";

const types = ["f32", "f16", "bf16"] as const;
const slots = 64;

/** Where channel d of a slot's key and value lies in a page, from the definition in native/formats/kv_page.h. */
function places(type: (typeof types)[number], D: number, slot: number, d: number): [key: number, value: number] {
  if (type !== "bf16") return [d * slots + slot, slots * D + slot * D + d];
  const alone = D % 2 === 1 && d === D - 1;
  const key = alone ? (D - 1) * slots + slot : Math.floor(d / 2) * 2 * slots + 2 * slot + (d % 2);
  return [key, slots * D + Math.floor(slot / 2) * 2 * D + 2 * d + (slot % 2)];
}

describe.each(opLevels("kv_write"))("kv_write on %s", (level) => {
  describe.each(types)("%s", (type) => {
    const read = { f32: (bits: number) => bits, f16: fromF16, bf16: fromBf16 }[type];
    const round = { f32: Math.fround, f16: (v: number) => fromF16(toF16(v)), bf16: (v: number) => fromBf16(toBf16(v)) }[
      type
    ];
    test.each([1, 2, 7, 16, 20, 33, 64, 128])("heads of %i", (D) => {
      const G = 2;
      const filler = type === "f32" ? 12345 : 0x1234;
      for (const token of [0, 1, 62, 63, 64 + 17]) {
        const pages = (Math.floor(token / slots) + 1) * G;
        const data = new (type === "f32" ? Float32Array : Uint16Array)(pages * 2 * slots * D).fill(filler);
        const key = withOutliers(G * D, token + D);
        const value = withOutliers(G * D, token + D + 1);
        // Numbers at the edges of 16 bits, and some that are none.
        [65519, 65520, 6e-8, -0, 3.4e38, Number.NaN, Number.NEGATIVE_INFINITY].forEach((special, i) => {
          key[(i * 3) % key.length] = special;
          value[(i * 5 + 1) % value.length] = special;
        });
        nativeOps.kvWrite(data, type, G, D, token, key, value, level);
        const untouched = new Set(data.keys());
        for (let g = 0; g < G; g++) {
          const page = (Math.floor(token / slots) * G + g) * 2 * slots * D;
          for (let d = 0; d < D; d++) {
            const [k, v] = places(type, D, token % slots, d);
            expect(read(data[page + k])).toBe(round(key[g * D + d]));
            expect(read(data[page + v])).toBe(round(value[g * D + d]));
            untouched.delete(page + k);
            untouched.delete(page + v);
          }
        }
        expect(untouched.size).toBe(data.length - 2 * G * D);
        expect([...untouched].every((i) => data[i] === filler)).toBe(true);
      }
    });
  });
});
