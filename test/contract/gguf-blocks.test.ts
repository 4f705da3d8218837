// GGUF blocks: the scalar decode by definition and the mapping into the affine family, against values decoded by the Python package `gguf`
// (test/golden/gguf-blocks/make.py).
import path from "node:path";
import { describe, expect, test } from "vitest";
import { readSafetensors } from "../../lib/load/safetensors.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { expectClose, tiny, unit } from "../support/close.ts";
import { entryBytes } from "../support/tensors.ts";

const file = path.join(import.meta.dirname, "../golden/gguf-blocks/blocks.safetensors");
const { tensors } = await readSafetensors(file);
const bytesOf = (name: string) => {
  const entry = tensors.get(name);
  if (!entry) throw new Error(`no ${name}`);
  return { bytes: entryBytes(entry), shape: entry.shape };
};

const types = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"] as const;

describe.each(types)("%s", (type) => {
  const golden = bytesOf(`${type}.values`);
  const values = new Float32Array(golden.bytes.buffer);
  const [rows, cols] = golden.shape;
  const decoded = nativeOps.decodeGguf(type, bytesOf(`${type}.bytes`).bytes, cols);

  // scale * code + zero in double, which holds it exactly; decoders in f32 round each product and the sum.
  const exact = Float64Array.from(values, (_, i) => {
    const group = Math.floor(i / decoded.group);
    return decoded.scale[group] * decoded.codes[i] + decoded.zero[group];
  });
  const tolerance = Float64Array.from(values, (_, i) => {
    const group = Math.floor(i / decoded.group);
    return 3 * unit * (Math.abs(decoded.scale[group] * decoded.codes[i]) + Math.abs(decoded.zero[group])) + tiny;
  });

  test("the affine mapping is the oracle's value up to the oracle's rounding", () => {
    expect(decoded.rows).toBe(rows);
    expect(decoded.codes.every((code) => code < 2 ** decoded.bits)).toBe(true);
    expectClose(values, { value: exact, tolerance }, type);
  });

  test("the scalar definition gives the oracle's value", () => {
    expectClose(decoded.values, { value: values, tolerance }, type);
    expectClose(decoded.values, { value: exact, tolerance }, type);
  });

  test("scale and zero are exact: the factors' significant bits fit", () => {
    // Each is an f16 factor times an integer of at most 9 bits, so 20 bits: the low 4 of the 24 are clear.
    for (const list of [decoded.scale, decoded.zero])
      for (const bits of new Uint32Array(list.buffer)) if (((bits >>> 23) & 255) > 10) expect(bits & 15).toBe(0);
  });

  test("partial rows are refused", () => {
    expect(() => nativeOps.decodeGguf(type, new Uint8Array(7), cols)).toThrow(
      expect.objectContaining({ code: "OUTRIDER_SHAPE" }),
    );
    expect(() => nativeOps.decodeGguf(type, new Uint8Array(0), 33)).toThrow(
      expect.objectContaining({ code: "OUTRIDER_SHAPE" }),
    );
  });
});
