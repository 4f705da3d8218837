// Outputs with guard bytes on both sides: a kernel that writes past its output is caught.

import { f32 } from "../../lib/ops/index.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";

const guardFloats = 32;
const pattern = 0x7fc0dead; // a NaN that no arithmetic makes

/** An f32 output of the given shape, filled with NaN, and a check that nothing around it was written. */
export function guarded<const S extends readonly number[]>(
  shape: S,
): { out: Tensor<"f32", S["length"]>; check(what: string): void } {
  const count = shape.reduce((product, size) => product * size, 1);
  const words = new Uint32Array(count + 2 * guardFloats).fill(pattern);
  const out = f32(new Float32Array(words.buffer, guardFloats * 4, count), shape);
  const check = (what: string) => {
    for (let i = 0; i < words.length; i++) {
      const inside = i >= guardFloats && i < guardFloats + count;
      if (inside === (words[i] === pattern)) {
        throw new Error(
          `${what}: element ${i - guardFloats} of ${count} was ${inside ? "not written" : "overwritten"}`,
        );
      }
    }
  };
  return { out, check };
}
