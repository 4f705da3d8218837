import { describe, expect, test, vi } from "vitest";
import { affine, bf16, f16, f32, f64, i8, i32, Tensor, u8, u32 } from "../../../lib/ops/index.ts";
import { toF16 } from "../../../lib/tensor/dtype.ts";
import { code } from "../../support/errors.ts";

const shapeError = expect.objectContaining({ name: "OutriderError", code: "OUTRIDER_SHAPE" });
const disposed = expect.objectContaining({ code: "OUTRIDER_DISPOSED" });

describe("making tensors", () => {
  test("from typed arrays, without copying", () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const x = Tensor.from("f32", data, [2, 3]);
    expect([x.dtype, x.shape, x.strides, x.rank, x.size, x.byteLength]).toEqual(["f32", [2, 3], [3, 1], 2, 6, 24]);
    data[5] = 60;
    expect(x.data).toBe(data);
    expect(Object.isFrozen(x.shape)).toBe(true);
  });

  test("from numbers, rounded to the element type", () => {
    expect(Array.from(f16([1, 0.1], [2]).toFloat32())).toEqual([1, 0.0999755859375]);
    expect(Array.from(bf16([1, 0.1], [2]).toFloat32())).toEqual([1, 0.10009765625]);
    expect(Array.from(i8([-1, 127], [2]).data)).toEqual([-1, 127]);
    expect([f64([0.1], [1]).data[0], u8([200], [1]).data[0], u32([2 ** 32 - 1], [1]).data[0]]).toEqual([
      0.1,
      200,
      2 ** 32 - 1,
    ]);
    expect(f32([7], []).shape).toEqual([]);
  });

  test("views of buffers, shared ones too", () => {
    for (const buffer of [new ArrayBuffer(32), new SharedArrayBuffer(32)]) {
      const x = Tensor.view("f32", buffer, [2, 2], 8);
      x.data[3] = 5;
      expect(new Float32Array(buffer)[5]).toBe(5);
      expect(() => Tensor.view("f32", buffer, [2, 2], 6)).toThrow(/multiple of 4/);
      expect(() => Tensor.view("f32", buffer, [2, 2], 20)).toThrow(/36 bytes or more/);
      expect(() => Tensor.view("f32", buffer, [2, 2], -4)).toThrow(shapeError);
    }
  });

  test("what does not fit is refused", () => {
    expect(() => f32([1, 2, 3], [2, 2])).toThrow("Expected 4 elements for shape [2, 2] for data, received 3");
    const f32s = new Float32Array(4);
    for (const shape of [[-1, -4], [2.5], [Number.NaN], [2 ** 40, 2 ** 40], "4", null]) {
      expect(() => Tensor.from("f32", f32s, shape as never)).toThrow(shapeError);
    }
    expect(() => Tensor.from("i32", f32s as never, [4])).toThrow(shapeError);
    expect(() => Tensor.zeros("f8" as never, [1])).toThrow(expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }));
    expect(() => f32("1234" as never, [4])).toThrow(shapeError);
  });
});

describe("what used to end in an error of the runtime", () => {
  const argument = (message: RegExp) => code("OUTRIDER_ARGUMENT", message);

  test("views of what is no buffer", () => {
    expect(() => Tensor.view("f32", undefined as never, [4])).toThrow(argument(/for buffer, received undefined$/));
    expect(() => Tensor.view("f32", { byteLength: 100 } as never, [4])).toThrow(
      argument(/for buffer, received a Object$/),
    );
  });

  test("sizes no machine has", () => {
    expect(() => Tensor.zeros("f32", [2 ** 40])).toThrow(
      code("OUTRIDER_MEMORY", /received "\[1099511627776\] in f32"$/),
    );
  });

  test("affine parts that are none", () => {
    expect(() => affine(undefined as never)).toThrow(argument(/for parts, received undefined$/));
  });
});

test("scales of an affine tensor may be a Float16Array where the runtime has it", async () => {
  // Stands in for Node 24's: a class of its own over the same bits.
  class Float16Array {
    static readonly BYTES_PER_ELEMENT = 2;
    readonly BYTES_PER_ELEMENT = 2;
    readonly byteOffset = 0;
    readonly buffer: ArrayBuffer;
    readonly length: number;
    constructor(bits: number[]) {
      this.buffer = Uint16Array.from(bits).buffer;
      this.length = bits.length;
    }
  }
  vi.stubGlobal("Float16Array", Float16Array);
  vi.resetModules();
  try {
    const fresh = await import("../../../lib/tensor/tensor.ts");
    const values = (bits: number[]) => new Float16Array(bits) as never;
    const parts = { bits: 8, group: 2, codes: Uint8Array.of(1, 2), shape: [1, 2] } as const;
    const tensor = fresh.Tensor.affine({ ...parts, scale: values([0x4000]), zero: values([0x3c00]) });
    expect(Array.from(tensor.toFloat32())).toEqual([3, 5]);
    expect(tensor.affineParts?.scale).toBeInstanceOf(Uint16Array);
  } finally {
    vi.unstubAllGlobals();
    vi.resetModules();
  }
});

describe("shapes and views", () => {
  const x = f32([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 4]);

  test("reshape shares memory", () => {
    const y = x.reshape([2, 6]);
    expect([y.shape, y.strides]).toEqual([
      [2, 6],
      [6, 1],
    ]);
    expect(y.data).toBe(x.data);
    expect(() => x.reshape([5, 2])).toThrow(shapeError);
  });

  test("columns and rows", () => {
    const middle = x.columns(1, 3);
    expect(Array.from(middle.toFloat32())).toEqual([2, 3, 6, 7, 10, 11]);
    expect([middle.isContiguous, x.isContiguous, x.columns(0, 4).isContiguous]).toEqual([false, true, true]);
    expect(() => middle.reshape([6])).toThrow(shapeError);
    expect(Array.from(x.row(2).toFloat32())).toEqual([9, 10, 11, 12]);
    expect(Array.from(middle.row(1).toFloat32())).toEqual([6, 7]);
    for (const bad of [-1, 3, 0.5]) expect(() => x.row(bad)).toThrow(shapeError);
    expect(() => x.columns(2, 5)).toThrow(shapeError);
    expect(() => x.columns(3, 2)).toThrow(shapeError);
  });

  test("empty dimensions", () => {
    const empty = Tensor.zeros("f32", [0, 3]);
    expect([empty.size, empty.data.length, empty.toFloat32().length]).toEqual([0, 0, 0]);
  });
});

describe("life", () => {
  test("after dispose() every use throws", () => {
    const x = f32([1, 2], [2]);
    x.dispose();
    x.dispose();
    for (const use of [() => x.data, () => x.toFloat32(), () => x.reshape([1, 2]), () => x.byteLength]) {
      expect(use).toThrow(disposed);
    }
    const y = i32([1], [1]);
    y[Symbol.dispose]();
    expect(() => y.data).toThrow(disposed);
  });

  test("a buffer transferred away is noticed", () => {
    const x = f32(new Float32Array(4), [4]);
    structuredClone(x.data.buffer, { transfer: [x.data.buffer as ArrayBuffer] });
    expect(() => x.data).toThrow(disposed);
  });
});

describe("affine tensors", () => {
  // Two rows of five columns, groups of two, the last one short.
  const rows = [
    [1, 0, 3, 2, 1],
    [2, 2, 0, 1, 3],
  ];
  const scale = Float32Array.of(0.5, 1, 2, 0.25, 3, 1);
  const zero = Float32Array.of(-1, 0, 1, 0, -3, 0.5);
  const expected = rows.flatMap((row, r) =>
    row.map((code, k) => scale[r * 3 + (k >> 1)] * code + zero[r * 3 + (k >> 1)]),
  );

  test.each([2, 3, 4, 8] as const)("%i bits, lowest bits first", (bits) => {
    const rowBytes = Math.ceil((5 * bits) / 8);
    const codes = new Uint8Array(2 * rowBytes);
    rows.forEach((row, r) => {
      row.forEach((code, k) => {
        const at = r * rowBytes + Math.floor((k * bits) / 8);
        const two = code << ((k * bits) % 8);
        codes[at] |= two;
        if (two > 255) codes[at + 1] |= two >> 8;
      });
    });
    const w = affine({ bits, group: 2, codes, scale, zero, shape: [2, 5] });
    expect([w.dtype, w.shape]).toEqual([`affine${bits}`, [2, 5]]);
    expect(Array.from(w.toFloat32())).toEqual(expected);
    expect(w.byteLength).toBe(codes.length + 48);
    const half = (values: Float32Array) => Uint16Array.from(values, toF16);
    const small = affine({ bits, group: 2, codes, scale: half(scale), zero: half(zero), shape: [2, 5] });
    expect(Array.from(small.toFloat32())).toEqual(expected);
  });

  test("parts that do not fit are refused", () => {
    const good = { bits: 4, group: 2, codes: new Uint8Array(6), scale, zero, shape: [2, 5] } as const;
    affine(good);
    expect(() => affine({ ...good, codes: new Uint8Array(5) })).toThrow(shapeError);
    expect(() => affine({ ...good, scale: scale.subarray(1) })).toThrow(shapeError);
    expect(() => affine({ ...good, zero: new Uint16Array(6) })).toThrow(shapeError);
    expect(() => affine({ ...good, shape: [2, 5, 1] as never })).toThrow(shapeError);
    for (const wrong of [{ bits: 5 as 2 }, { group: 0 }]) {
      expect(() => affine({ ...good, ...wrong })).toThrow(expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }));
    }
    expect(() => affine(good).reshape([10])).toThrow(shapeError);
  });
});
