import { describe, expect, test } from "vitest";
import { affine, bf16, embedding, f16, f32, gemm, i32, opLevels, type WeightTensor } from "../../lib/ops/index.ts";
import { toF16 } from "../../lib/tensor/dtype.ts";
import { type Expected, expectClose, expectNaN, tiny, unit } from "../support/close.ts";
import { normal, uniform, withOutliers } from "../support/random.ts";

type Zeros = "any" | "symmetric" | "one off";

/** A random affine matrix; scales in f16 or f32. Symmetric zeros are -2^(bits - 1) scale, "one off": all but the last. */
function randomAffine(
  bits: 2 | 3 | 4 | 8,
  M: number,
  K: number,
  group: number,
  wide: boolean,
  seed: number,
  zeros: Zeros = "any",
): WeightTensor {
  const next = uniform(seed);
  const groups = Math.ceil(K / group);
  const codes = Uint8Array.from({ length: M * Math.ceil((K * bits) / 8) }, () => Math.floor(next() * 256));
  const make = (spread: number) => {
    const values = Array.from({ length: M * groups }, () => (next() - 0.5) * spread);
    return wide ? Float32Array.from(values) : Uint16Array.from(values, toF16);
  };
  const scale = make(0.1);
  const zero = make(0.4);
  if (zeros !== "any") {
    for (let i = 0; i < zero.length - (zeros === "one off" ? 1 : 0); i++) {
      const value = wide ? scale[i] : f16(Uint16Array.of(scale[i]) as never, [1]).toFloat32()[0];
      zero[i] = wide ? -(2 ** (bits - 1)) * value : toF16(-(2 ** (bits - 1)) * value);
    }
  }
  return affine({ bits, group, codes, scale, zero, shape: [M, K] });
}

/**
 * float64 product of activations and the weights' exact values. A chain of K multiply-adds is off by (K + 8) u of the summed
 * magnitudes. In affine form the two sums of a group, codes and zeros, cancel: their magnitudes count, not those of w.
 */
function reference(x: Float32Array, w: WeightTensor, bias: Float32Array | undefined, int8: boolean): Expected {
  const [M, K] = w.shape;
  const N = x.length / K;
  const parts = w.affineParts;
  const group = parts ? Math.min(parts.group, K) : K;
  const bits = parts ? Number(w.dtype.slice(6)) : 0;
  const values = parts ? undefined : w.toFloat32();
  const codes = w.data as Uint8Array;
  const scaleOf =
    parts &&
    (parts.scale instanceof Float32Array ? parts.scale : f16(parts.scale as never, [parts.scale.length]).toFloat32());
  const zeroOf =
    parts &&
    (parts.zero instanceof Float32Array ? parts.zero : f16(parts.zero as never, [parts.zero.length]).toFloat32());
  const rowBytes = Math.ceil((K * bits) / 8);
  const groups = Math.ceil(K / group);
  const value = new Float64Array(N * M);
  const tolerance = new Float64Array(N * M);
  for (let n = 0; n < N; n++) {
    for (let g = 0; g < groups; g++) {
      const row = x.subarray(n * K + g * group, n * K + Math.min((g + 1) * group, K));
      const top = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const inverse = Math.fround(127 / top);
      const step = Math.fround(top / 127);
      for (let m = 0; m < M; m++) {
        let sum = 0;
        let magnitude = 0;
        row.forEach((raw, i) => {
          const k = g * group + i;
          const rounded = Math.fround(raw * inverse);
          // Ties go to even; the f32 product decides, as in the kernel.
          const q = Math.abs(rounded % 1) === 0.5 ? 2 * Math.round(rounded / 2) : Math.round(rounded);
          const a = int8 ? (top > 0 ? q * step : 0) : raw;
          if (values) {
            sum += a * values[m * K + k];
            magnitude += Math.abs(a * values[m * K + k]);
            return;
          }
          const byte = m * rowBytes + Math.floor((k * bits) / 8);
          const code = ((codes[byte] + 256 * (codes[byte + 1] ?? 0)) >> ((k * bits) % 8)) & ((1 << bits) - 1);
          const scale = scaleOf?.[m * groups + g] ?? 0;
          const zero = zeroOf?.[m * groups + g] ?? 0;
          sum += a * (scale * code + zero);
          magnitude += Math.abs(a) * (Math.abs(scale) * code + Math.abs(zero));
        });
        value[n * M + m] += sum;
        tolerance[n * M + m] += (K + 16) * unit * magnitude + tiny;
      }
    }
    for (let m = 0; m < M; m++) {
      value[n * M + m] += bias?.[m] ?? 0;
      tolerance[n * M + m] += unit * Math.abs(value[n * M + m]);
    }
  }
  return { value, tolerance };
}

const shapes: [N: number, M: number, K: number][] = [
  [1, 1, 1],
  [1, 17, 5],
  [2, 16, 64],
  [3, 33, 100],
  [5, 65, 48],
  [8, 40, 257],
  [9, 70, 130],
  [17, 15, 96],
];

describe.each(opLevels("gemm"))("gemm on %s", (level) => {
  test.each(shapes)("dense, %i x %i x %i", (N, M, K) => {
    const x = withOutliers(N * K, N + K);
    const bias = normal(M, 3);
    for (const make of [f32, f16, bf16]) {
      const w = make(Array.from(normal(M * K, M)), [M, K]) as WeightTensor;
      expectClose(
        gemm({ x: f32(x, [N, K]), w, bias: f32(bias, [M]), level }).data,
        reference(x, w, bias, false),
        w.dtype,
      );
    }
  });

  test.each(shapes)("bf16 activations, %i x %i x %i", (N, M, K) => {
    const x = withOutliers(N * K, N + K);
    const rounded = bf16(Array.from(x), [N, K]);
    const bias = normal(M, 3);
    const w = bf16(Array.from(normal(M * K, M)), [M, K]);
    const expected = reference(rounded.toFloat32(), w, bias, false);
    const input = { w, bias: f32(bias, [M]), activation: "bf16", level } as const;
    const out = gemm({ ...input, x: f32(x, [N, K]) }).data;
    expectClose(out, expected, w.dtype);
    expect(gemm({ ...input, x: rounded }).data).toEqual(out);
    for (let n = 0; n < N; n++) {
      const alone = gemm({ ...input, x: f32(x.subarray(n * K, (n + 1) * K), [1, K]) }).data;
      expect(alone).toEqual(out.subarray(n * M, (n + 1) * M));
    }
  });

  // Many rows go through so many inputs in stretches, one row in one go.
  test.each(["f32", "f16", "bf16", "bf16 activations", "u3", "u4", "u8"])(
    "more inputs than a cache holds, %s",
    (what) => {
      const [N, M, K] = [9, 70, 7001];
      const x = normal(N * K, 1);
      const dense = { f32, f16, bf16, "bf16 activations": bf16 }[what];
      const w = dense
        ? (dense(Array.from(normal(M * K, 2)), [M, K]) as WeightTensor)
        : randomAffine(Number(what.slice(1)) as 3 | 4 | 8, M, K, what === "u3" ? 64 : 16, true, 2);
      const activation = dense ? (what === "bf16 activations" ? "bf16" : "float") : "int8";
      const seen = activation === "bf16" ? bf16(Array.from(x), [N, K]).toFloat32() : x;
      const out = gemm({ x: f32(x, [N, K]), w, activation, level }).data;
      expectClose(out.subarray(0, M), reference(seen.subarray(0, K), w, undefined, !dense), what);
      for (let n = 0; n < N; n++) {
        const alone = gemm({ x: f32(x.subarray(n * K, (n + 1) * K), [1, K]), w, activation, level }).data;
        expect(alone).toEqual(out.subarray(n * M, (n + 1) * M));
      }
    },
  );

  describe.each([2, 3, 4, 8] as const)("%i bits", (bits) => {
    test.each(
      [16, 32, 64, 128, 100_000].flatMap((group) =>
        (["any", "symmetric", "one off"] as const).map((zeros) => [group, zeros] as const),
      ),
    )("groups of %i, zeros %s", (group, zeros) => {
      for (const [i, [N, M, K]] of shapes.entries()) {
        const w = randomAffine(bits, M, K, group, i % 2 === 1, i + group, zeros);
        const x = withOutliers(N * K, i);
        for (const activation of ["float", "int8"] as const) {
          const actual = gemm({ x: f32(x, [N, K]), w, activation, level }).data;
          expectClose(actual, reference(x, w, undefined, activation === "int8"), `${activation} ${N} x ${M} x ${K}`);
        }
      }
    });

    test("int8 sums are exact up to the longest group, and longer ones are refused", () => {
      const most = 65536;
      const make = (K: number) =>
        affine({
          ...{ bits, group: K, shape: [1, K], codes: new Uint8Array((K * bits) / 8).fill(255) },
          ...{ scale: Float32Array.of(1), zero: Float32Array.of(0) },
        });
      const product = (K: number, N: number, activation: "int8" | "float") =>
        gemm({ x: f32(new Float32Array(N * K).fill(1), [N, K]), w: make(K), activation, level }).data;
      const code = 2 ** bits - 1;
      for (const N of [1, 2, 7, 33]) {
        for (const value of product(16384, N, "int8")) expect(value / (16384 * code)).toBeCloseTo(1, 6);
        for (const value of product(most, N, "int8")) expect(value / (most * code)).toBeCloseTo(1, 6);
        for (const value of product(most + 64, N, "float")) expect(value / ((most + 64) * code)).toBeCloseTo(1, 5);
      }
      expect(() => product(most + 64, 1, "int8")).toThrow(/groups of at most 65536 inputs.*received 65600/);
    });

    test("a row's bits do not depend on how many rows there are", () => {
      const [N, M, K] = [19, 50, 160];
      const x = normal(N * K, 6);
      for (const zeros of ["any", "symmetric"] as const) {
        const w = randomAffine(bits, M, K, 64, false, 5, zeros);
        for (const activation of ["float", "int8"] as const) {
          const all = gemm({ x: f32(x, [N, K]), w, activation, level }).data;
          for (const count of [1, 2, 3, 7, 8, 9, 18]) {
            const some = gemm({ x: f32(x.subarray(0, count * K), [count, K]), w, activation, level }).data;
            expect(some).toEqual(all.subarray(0, count * M));
          }
        }
      }
    });
  });

  // Levels have other ways for many rows: tiles of matrix registers, which keep some panels of decoded weights.
  describe.each([2, 3, 4, 8] as const)("many rows, %i bits", (bits) => {
    test.each([
      [16, 67, 20, 100],
      [32, 70, 33, 160],
      [64, 32, 17, 600],
      [64, 49, 130, 2600], // more groups than are kept of eight panels
      [96, 33, 150, 500],
      [128, 131, 40, 200],
      [100_000, 64, 20, 7001],
      [100_000, 33, 17, 17_000], // a group too long to keep
    ])("groups of %i, %i x %i x %i, have the bits of few", (group, N, M, K) => {
      const x = withOutliers(N * K, N);
      const bias = f32(normal(M, 3), [M]);
      for (const [zeros, wide] of [
        ["any", true],
        ["any", false],
        ["symmetric", true],
        ["symmetric", false],
      ] as const) {
        const w = randomAffine(bits, M, K, group, wide, K, zeros);
        const all = gemm({ x: f32(x, [N, K]), w, bias, activation: "int8", level }).data;
        for (let n = 0; n < N; n += 7) {
          const rows = Math.min(7, N - n);
          const few = f32(x.subarray(n * K, (n + rows) * K), [rows, K]);
          expect(gemm({ x: few, w, bias, activation: "int8", level }).data).toEqual(
            all.subarray(n * M, (n + rows) * M),
          );
        }
      }
    });
  });

  test("16-bit activations", () => {
    const w = randomAffine(4, 20, 96, 32, false, 1);
    for (const make of [f16, bf16]) {
      const x = make(Array.from(normal(3 * 96, 2)), [3, 96]);
      expectClose(gemm({ x, w, level }).data, reference(x.toFloat32(), w, undefined, false), x.dtype);
    }
  });

  test("NaN and infinity spoil their row and no other", () => {
    for (const w of [
      f32(normal(20 * 40, 1), [20, 40]) as WeightTensor,
      randomAffine(4, 20, 40, 16, false, 2),
      randomAffine(4, 20, 40, 16, false, 2, "symmetric"),
    ]) {
      for (const activation of w.affineParts ? (["float", "int8"] as const) : (["float"] as const)) {
        for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
          const x = normal(3 * 40, 3);
          x[40 + 7] = bad;
          const y = gemm({ x: f32(x, [3, 40]), w, activation, level }).data;
          if (Number.isNaN(bad)) expectNaN(y.subarray(20, 40), activation);
          else expect(y.subarray(20, 40).some(Number.isFinite)).toBe(false);
          expect(y.subarray(0, 20).every(Number.isFinite) && y.subarray(40).every(Number.isFinite)).toBe(true);
        }
      }
    }
  });

  test("NaN spoils its row of many and no other", () => {
    for (const bits of [2, 3, 4, 8] as const) {
      const w = randomAffine(bits, 20, 100, 64, false, 2);
      const x = normal(40 * 100, 3);
      const clean = gemm({ x: f32(x, [40, 100]), w, activation: "int8", level }).data;
      x[17 * 100 + 99] = Number.NaN;
      const y = gemm({ x: f32(x, [40, 100]), w, activation: "int8", level }).data;
      expectNaN(y.subarray(17 * 20, 18 * 20), `${bits} bits`);
      y.set(clean.subarray(17 * 20, 18 * 20), 17 * 20);
      expect(y).toEqual(clean);
    }
  });

  test("threads and other rows of the call change no bit", () => {
    const w = randomAffine(4, 200, 96, 32, false, 5);
    for (const activation of ["float", "int8"] as const) {
      const x = normal(23 * 96, 6);
      const whole = gemm({ x: f32(x, [23, 96]), w, activation, level }).data;
      expect(gemm({ x: f32(x, [23, 96]), w, activation, level, threads: 2 }).data).toEqual(whole);
      for (const n of [1, 2, 3, 4, 5, 6, 7, 13]) {
        const some = gemm({ x: f32(x.subarray(0, n * 96), [n, 96]), w, activation, level }).data;
        expect(some).toEqual(whole.subarray(0, n * 200));
      }
    }
    expect(() => gemm({ x: f32(new Float32Array(96), [1, 96]), w, threads: 0 })).toThrow(/threads/);
  });

  test("embedding gives the rows of every format", () => {
    const tables = [f32, f16, bf16].map((make) => make(Array.from(normal(37 * 50, 1)), [37, 50]) as WeightTensor);
    for (const bits of [2, 3, 4, 8] as const) {
      tables.push(randomAffine(bits, 37, 50, 16, bits === 4, bits));
      tables.push(randomAffine(bits, 37, 50, 16, bits === 4, bits, "symmetric"));
      tables.push(randomAffine(bits, 37, 50, 100, bits === 4, bits));
    }
    for (const table of tables) {
      const values = table.toFloat32();
      const tokens = [0, 36, 15, 16, 36];
      const out = embedding({ table, tokens: i32(tokens, [5]), scale: 2, level }).data;
      tokens.forEach((token, n) => {
        for (let k = 0; k < 50; k++)
          expect(Math.abs(out[n * 50 + k] - 2 * values[token * 50 + k])).toBeLessThanOrEqual(1e-6);
      });
    }
    expect(() => embedding({ table: tables[0], tokens: i32([37], [1]) })).toThrow(/tokens\[0\]/);
  });
});

describe.each(opLevels("embedding"))("embedding of mixed rows on %s", (level) => {
  const [V, K, N, J] = [37, 50, 4, 5];
  const tables = [f32, f16, bf16].map((make) => make(Array.from(normal(V * K, 1)), [V, K]) as WeightTensor);
  for (const bits of [2, 3, 4, 8] as const) tables.push(randomAffine(bits, V, K, 16, bits === 4, bits));
  const tokens = Int32Array.from({ length: N * J }, (_, i) => (i * 11) % V);
  const weights = normal(N * J, 2);

  test("is the weighted sum of rows", () => {
    for (const table of tables) {
      const rows = embedding({ table, tokens: i32(tokens, [N * J]), level }).data;
      for (const scale of [1, Math.sqrt(K)]) {
        const value = new Float64Array(N * K);
        const tolerance = new Float64Array(N * K).fill(tiny);
        for (let i = 0; i < N * J; i++) {
          for (let k = 0; k < K; k++) {
            const at = Math.floor(i / J) * K + k;
            const term = Math.fround(scale) * weights[i] * rows[i * K + k];
            value[at] += term;
            tolerance[at] += (J + 1) * unit * Math.abs(term); // a product, J - 1 sums and the scale
          }
        }
        const mixed = { table, tokens: i32(tokens, [N, J]), weights: f32(weights, [N, J]), scale, level };
        expectClose(embedding(mixed).data, { value, tolerance }, `scale ${scale}`);
      }
    }
  });

  test("of one row of weight 1 are its bits, and rows of weight 0 are not read", () => {
    const values = normal(V * K, 3);
    values.fill(Number.NaN, K, 2 * K);
    values[0] = -0;
    const table = f32(values, [V, K]);
    for (const token of [0, 36]) {
      const plain = embedding({ table, tokens: i32([token], [1]), scale: 3, level }).data;
      for (const [ids, w] of [
        [[token], [1]],
        [
          [1, token, 1],
          [0, 1, -0],
        ],
      ]) {
        const shape = [1, ids.length] as const;
        const { data } = embedding({ table, tokens: i32(ids, shape), weights: f32(w, shape), scale: 3, level });
        expect(Buffer.from(data.buffer)).toEqual(Buffer.from(plain.buffer));
      }
    }
    const none = embedding({ table, tokens: i32([1, 1], [1, 2]), weights: f32([0, 0], [1, 2]), level });
    expect([...none.data]).toEqual(new Array(K).fill(0));
  });

  test("wants a weight for each token", () => {
    const [table] = tables;
    const shape = (message: RegExp) =>
      expect.objectContaining({ code: "OUTRIDER_SHAPE", message: expect.stringMatching(message) });
    const mixed = { table, tokens: i32(tokens, [N, J]), weights: f32(weights, [N, J]) };
    expect(() => embedding({ ...mixed, weights: f32(weights, [J, N]) })).toThrow(shape(/weights/));
    expect(() => embedding({ ...mixed, weights: undefined })).toThrow(shape(/tokens/));
    expect(() => embedding({ table, tokens: i32([], [N, 0]), weights: f32([], [N, 0]) })).toThrow(shape(/weights/));
    expect(() => embedding({ ...mixed, tokens: i32(tokens, [N * J]) })).toThrow(shape(/tokens/));
    expect(() =>
      embedding({
        ...mixed,
        tokens: mixed.tokens.columns(0, 2) as never,
        weights: f32(weights.subarray(0, 8), [4, 2]),
      }),
    ).toThrow(shape(/contiguous/));
    expect(() => embedding({ ...mixed, tokens: i32(tokens.with(3, V), [N, J]) })).toThrow(/tokens\[3\]/);
  });
});

test("int8 needs affine weights, bf16 bf16 ones, shapes must fit", () => {
  const w = f32([1, 2], [1, 2]);
  for (const activation of ["int8", "bf16"] as const) {
    expect(() => gemm({ x: f32([1, 2], [1, 2]), w, activation })).toThrow(
      expect.objectContaining({ code: "OUTRIDER_UNSUPPORTED" }),
    );
  }
  expect(() => gemm({ x: f32([1, 2, 3], [1, 3]), w })).toThrow(expect.objectContaining({ code: "OUTRIDER_SHAPE" }));
});

test("a weight tensor that was disposed is refused, packed before or not", () => {
  const w = f32([1, 2], [1, 2]);
  const x = f32([1, 2], [1, 2]);
  expect([...gemm({ x, w }).data]).toEqual([5]);
  w.dispose();
  expect(() => gemm({ x, w })).toThrow(expect.objectContaining({ code: "OUTRIDER_DISPOSED" }));
  expect(() => gemm(undefined as never)).toThrow(expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }));
});
