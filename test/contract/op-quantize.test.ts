// The quantiser's solver against definitions in float64: losses, the optimal-brain recursion in its textbook form, the least-squares
// optimum, exhaustive search; and against a real layer where the folder of shared goldens is.
import path from "node:path";
import { describe, expect, test } from "vitest";
import { f32, opLevels, type QuantizeOutput, quantize } from "../../lib/ops/index.ts";
import { normal, uniform } from "../support/random.ts";
import { describeShared } from "../support/shared.ts";
import { readTensor } from "../support/tensors.ts";

type Options = Omit<Parameters<typeof quantize>[0], "weights" | "hessian">;

interface Layer {
  W: Float32Array;
  H: Float32Array;
  M: number;
  d: number;
}

/** Gaussian weights with some large columns, inputs that are correlated and of log-normal size. */
function randomLayer(M: number, d: number, seed: number, tokens = 4 * d): Layer {
  const W = normal(M * d, seed);
  for (let k = 0; k < d; k += 11) for (let m = 0; m < M; m++) W[m * d + k] *= 4;
  const noise = normal(tokens * d, seed + 1);
  const size = normal(d, seed + 2).map((x) => Math.exp(x));
  const X = new Float64Array(tokens * d);
  for (let t = 0; t < tokens; t++)
    for (let k = 0; k < d; k++)
      X[t * d + k] = size[k] * (noise[t * d + k] + 0.7 * (k > 0 ? noise[t * d + k - 1] : 0) + 0.5 * noise[t * d]);
  const H = new Float32Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += X[t * d + i] * X[t * d + j];
      H[i * d + j] = H[j * d + i] = sum / tokens;
    }
  }
  return { W, H, M, d };
}

const run = ({ W, H, M, d }: Layer, options: Options) =>
  quantize({ weights: f32(W, [M, d]), hessian: f32(H, [d, d]), damping: 0, scales: "f32", ...options });

/** (w - w0)^T H (w - w0) of each row in float64. */
function lossOf(image: Float32Array, { W, H, M, d }: Layer): Float64Array {
  return Float64Array.from({ length: M }, (_, m) => {
    let loss = 0;
    for (let i = 0; i < d; i++) {
      let sum = 0;
      for (let j = 0; j < d; j++) sum += H[i * d + j] * (image[m * d + j] - W[m * d + j]);
      loss += sum * (image[m * d + i] - W[m * d + i]);
    }
    return loss;
  });
}

const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);

/** Codes of an output, from 0 on, one per element. */
function codesOf({ weights }: QuantizeOutput): number[] {
  const [M, d] = weights.shape;
  const bits = Number(weights.dtype.slice(6));
  const rowBytes = Math.ceil((d * bits) / 8);
  const data = weights.data as Uint8Array;
  return Array.from({ length: M * d }, (_, at) => {
    const k = at % d;
    const byte = Math.floor(at / d) * rowBytes + Math.floor((k * bits) / 8);
    return ((data[byte] + 256 * (data[byte + 1] ?? 0)) >> ((k * bits) % 8)) & (2 ** bits - 1);
  });
}

/** Lower Cholesky factor. */
function cholesky(A: Float64Array, n: number): Float64Array {
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i * n + j];
      for (let k = 0; k < j; k++) sum -= L[i * n + k] * L[j * n + k];
      L[i * n + j] = i === j ? Math.sqrt(sum) : sum / L[j * n + j];
    }
  }
  return L;
}

/** Inverse of a symmetric positive definite matrix. */
function inverse(A: Float64Array, n: number): Float64Array {
  const L = cholesky(A, n);
  const out = new Float64Array(n * n);
  for (let c = 0; c < n; c++) {
    const x = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let sum = i === c ? 1 : 0;
      for (let k = 0; k < i; k++) sum -= L[i * n + k] * x[k];
      x[i] = sum / L[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = x[i];
      for (let k = i + 1; k < n; k++) sum -= L[k * n + i] * x[k];
      x[i] = sum / L[i * n + i];
    }
    for (let i = 0; i < n; i++) out[i * n + c] = x[i];
  }
  return out;
}

/** Scale and zero (of codes from 0 on) that span each group of each row. */
function spanning({ W, M, d }: Layer, bits: number, group: number) {
  const G = Math.ceil(d / group);
  const scale = new Float32Array(M * G);
  const zero = new Float32Array(M * G);
  for (let at = 0; at < M * G; at++) {
    const m = Math.floor(at / G);
    const part = W.subarray(m * d + (at % G) * group, m * d + Math.min(d, ((at % G) + 1) * group));
    const low = Math.min(0, ...part);
    scale[at] = (Math.max(0, ...part) - low) / (2 ** bits - 1);
    zero[at] = low;
  }
  return { scale, zero, G };
}

const levels = opLevels("gemm");

describe.each(levels)("quantize on %s", (level) => {
  const shapes: [M: number, d: number, group: number][] = [
    [1, 1, 16],
    [3, 20, 16],
    [17, 64, 64],
    [16, 96, 32],
    [5, 130, 64],
    [20, 70, 1000],
  ];

  test.each(shapes)(
    "%i x %i in groups of %i: losses are those of the weights, and no half step raises them",
    (M, d, group) => {
      const layer = randomLayer(M, d, d + group);
      for (const bits of [2, 3, 4, 8] as const) {
        for (const symmetric of [false, true]) {
          let before = Number.POSITIVE_INFINITY;
          for (const method of ["rtn", "gptq", "decoupleq"] as const) {
            const out = run(layer, { bits, group, method, symmetric, level });
            const exact = lossOf(out.weights.toFloat32(), layer);
            // f32 sums over d inputs of the product, and the f32 rounding of each weight.
            const scale = total(lossOf(new Float32Array(M * d), layer));
            for (let m = 0; m < M; m++)
              expect(Math.abs(out.loss[m] - exact[m])).toBeLessThanOrEqual(1e-5 * exact[m] + 1e-9 * scale);
            const sums = out.steps.filter(({ name }) => name !== "shrink").map(({ loss }) => loss);
            for (let i = 1; i < sums.length; i++) expect(sums[i]).toBeLessThanOrEqual(sums[i - 1]);
            expect(sums.at(-1)).toBeCloseTo(total(out.loss), 6);
            expect(total(out.loss)).toBeLessThanOrEqual(before * (1 + 1e-12));
            before = total(out.loss);
            expect(Math.max(...codesOf(out))).toBeLessThan(2 ** bits);
          }
        }
      }
    },
  );

  test("the methods pay in their order at 2 bits", () => {
    const layer = randomLayer(24, 128, 3);
    for (const group of [128, 64, 32]) {
      const [rtn, gptq, decoupleq] = (["rtn", "gptq", "decoupleq"] as const).map((method) =>
        total(run(layer, { bits: 2, group, method, level }).loss),
      );
      expect(gptq).toBeLessThan(0.7 * rtn);
      expect(decoupleq).toBeLessThan(0.9 * gptq);
    }
  });
});

test("rounding is to the nearest level of the grid that spans each group, and 0 is inside", () => {
  const layer = randomLayer(7, 50, 9);
  const { scale, zero, G } = spanning(layer, 2, 16);
  const out = run(layer, { bits: 2, group: 16, method: "rtn" });
  const found = out.weights.affineParts?.scale as Float32Array;
  for (const [i, value] of found.entries()) expect(value / scale[i]).toBeCloseTo(1, 6);
  codesOf(out).forEach((code, at) => {
    const g = Math.floor(at / 50) * G + Math.floor((at % 50) / 16);
    const position = (layer.W[at] - zero[g]) / scale[g];
    expect(Math.abs(position - code)).toBeLessThan(0.5 + 1e-5);
  });
});

// GPTQ as its paper has it: the upper Cholesky factor of the inverse, errors pushed into all later columns.
test("the pass of gptq is the textbook recursion", () => {
  const [M, d, group] = [9, 48, 16];
  const layer = randomLayer(M, d, 4);
  const { scale, zero, G } = spanning(layer, 2, group);
  const order = Array.from({ length: d }, (_, i) => i).sort((a, b) => layer.H[b * d + b] - layer.H[a * d + a]);
  const mean = total(order.map((k) => layer.H[k * d + k])) / d;
  const damped = new Float64Array(d * d);
  for (const [i, a] of order.entries())
    for (const [j, b] of order.entries()) damped[i * d + j] = layer.H[a * d + b] + (i === j ? 0.01 * mean : 0);
  const L = cholesky(inverse(damped, d), d); // H'^-1 = L L^T, so U = L^T
  const image = new Float32Array(M * d);
  for (let m = 0; m < M; m++) {
    const w = Float64Array.from(order, (k) => layer.W[m * d + k]);
    order.forEach((k, i) => {
      const g = m * G + Math.floor(k / group);
      const code = Math.min(3, Math.max(0, Math.floor((w[i] - zero[g]) / scale[g] + 0.5)));
      image[m * d + k] = code * scale[g] + zero[g];
      const error = (w[i] - image[m * d + k]) / L[i * d + i];
      for (let j = i; j < d; j++) w[j] -= error * L[j * d + i];
    });
  }
  const textbook = lossOf(image, layer);
  const rounded = run(layer, { bits: 2, group, method: "rtn" }).loss;
  const out = run(layer, { bits: 2, group, method: "gptq" });
  for (let m = 0; m < M; m++) expect(out.loss[m] / Math.min(textbook[m], rounded[m])).toBeCloseTo(1, 4);
  const { loss } = out.steps[1];
  expect(loss).toBeLessThan(total(rounded));
});

test("scales and zeros are the least-squares optimum of their codes", () => {
  const [M, d, group] = [6, 64, 16];
  const layer = randomLayer(M, d, 12);
  const out = run(layer, { bits: 2, group });
  expect(out.steps.at(-1)?.name).toBe("float");
  const codes = codesOf(out);
  const G = d / group;
  for (let m = 0; m < M; m++) {
    // P x = y in float64, with codes from 0 on, which spans the same weights.
    const basis = Array.from({ length: 2 * G }, (_, j) =>
      Float64Array.from({ length: d }, (_, k) =>
        Math.floor(k / group) === j % G ? (j < G ? codes[m * d + k] : 1) : 0,
      ),
    );
    const through = basis.map((b) =>
      Float64Array.from({ length: d }, (_, i) => b.reduce((sum, value, j) => sum + layer.H[i * d + j] * value, 0)),
    );
    const P = Float64Array.from({ length: 4 * G * G }, (_, at) =>
      total(basis[Math.floor(at / (2 * G))].map((value, k) => value * through[at % (2 * G)][k])),
    );
    const y = through.map((t) => total(t.map((value, k) => value * layer.W[m * d + k])));
    const back = inverse(P, 2 * G);
    const x = y.map((_, i) => total(y.map((value, j) => back[i * 2 * G + j] * value)));
    const best = Float32Array.from({ length: d }, (_, k) => {
      const g = Math.floor(k / group);
      return x[g] * codes[m * d + k] + x[G + g];
    });
    const row = { ...layer, W: layer.W.subarray(m * d, (m + 1) * d), M: 1 };
    const [optimum] = lossOf(best, row);
    expect(out.loss[m]).toBeGreaterThanOrEqual(optimum * (1 - 1e-4));
    expect(out.loss[m]).toBeLessThanOrEqual(optimum * (1 + 1e-3));
  }
});

test("codes are near the best of all for few inputs", () => {
  const [M, d] = [12, 6];
  const layer = randomLayer(M, d, 21);
  const out = run(layer, { bits: 2, group: d });
  const { scale, zero } = out.weights.affineParts ?? {};
  let ratio = 0;
  for (let m = 0; m < M; m++) {
    const row = { ...layer, W: layer.W.subarray(m * d, (m + 1) * d), M: 1 };
    let best = Number.POSITIVE_INFINITY;
    for (let all = 0; all < 4 ** d; all++) {
      const image = Float32Array.from(
        { length: d },
        (_, k) => ((all >> (2 * k)) & 3) * (scale?.[m] ?? 0) + (zero?.[m] ?? 0),
      );
      best = Math.min(best, lossOf(image, row)[0]);
    }
    expect(out.loss[m]).toBeGreaterThanOrEqual(best * (1 - 1e-4));
    ratio += out.loss[m] / best / M;
  }
  expect(ratio).toBeLessThan(1.5);
});

test("projected integers keep to the box and are about as good as the recursion", () => {
  const layer = randomLayer(10, 48, 17);
  const options = { bits: 2, group: 16, method: "gptq" } as const;
  const rtn = run(layer, { ...options, method: "rtn" });
  const recursion = run(layer, options);
  const projected = run(layer, { ...options, integers: "projected", threads: 2 });
  expect(total(projected.loss)).toBeLessThan(0.9 * total(rtn.loss));
  expect(total(projected.loss) / total(recursion.loss)).toBeLessThan(1.15);
  const exact = lossOf(projected.weights.toFloat32(), layer);
  for (let m = 0; m < 10; m++) expect(projected.loss[m] / exact[m]).toBeCloseTo(1, 4);
  const whole = run(layer, { bits: 2, group: 16, integers: "projected" });
  expect(total(whole.loss)).toBeLessThan(total(projected.loss));
  expect(() => quantize({ weights: f32(new Float32Array(513), [1, 513]), bits: 2, integers: "projected" })).toThrow(
    /512/,
  );
});

test("weights that lie on a grid are found exactly", () => {
  const [M, d, group] = [8, 64, 32];
  const { H } = randomLayer(M, d, 2);
  const next = uniform(8);
  const W = Float32Array.from({ length: M * d }, (_, at) => {
    const k = (at % d) % group;
    return 0.25 * ((k === 0 ? 0 : k === 1 ? 3 : Math.floor(next() * 4)) - 2) + 0.125; // both ends in every group, 0 inside
  });
  for (const method of ["rtn", "gptq", "decoupleq"] as const) {
    const out = run({ W, H, M, d }, { bits: 2, group, method });
    for (const [i, w] of out.weights.toFloat32().entries()) expect(Math.abs(w - W[i])).toBeLessThan(1e-5);
  }
});

test("the size of the statistics changes nothing, the size of the weights only scales and zeros", () => {
  const layer = randomLayer(10, 64, 30);
  const out = run(layer, { bits: 2, group: 32 });
  const louder = run({ ...layer, H: layer.H.map((h) => 16 * h) }, { bits: 2, group: 32 });
  expect(codesOf(louder)).toEqual(codesOf(out));
  const larger = run({ ...layer, W: layer.W.map((w) => 4 * w) }, { bits: 2, group: 32 });
  expect(codesOf(larger)).toEqual(codesOf(out));
  const image = out.weights.toFloat32();
  for (const [i, w] of larger.weights.toFloat32().entries()) expect(w).toBeCloseTo(4 * image[i], 4);
});

test("threads change no bit", () => {
  const layer = randomLayer(33, 100, 5);
  const one = run(layer, { bits: 2, group: 32 });
  const two = run(layer, { bits: 2, group: 32, threads: 2 });
  expect(two.weights.data).toEqual(one.weights.data);
  expect(two.weights.affineParts).toEqual(one.weights.affineParts);
});

test("f16 scales are exact in f16, and the loss is that of what is stored", () => {
  const layer = randomLayer(9, 96, 6);
  const wide = run(layer, { bits: 2, group: 32 });
  const out = run(layer, { bits: 2, group: 32, scales: "f16" });
  expect(out.weights.affineParts?.scale).toBeInstanceOf(Uint16Array);
  const exact = lossOf(out.weights.toFloat32(), layer);
  for (let m = 0; m < 9; m++) expect(Math.abs(out.loss[m] - exact[m])).toBeLessThan(1e-4 * exact[m]);
  expect(total(out.loss)).toBeLessThan(1.02 * total(wide.loss));
});

test("without statistics all inputs are alike", () => {
  const { W, M, d } = randomLayer(4, 40, 7);
  const out = quantize({ weights: f32(W, [M, d]), bits: 4, group: 20, method: "rtn", scales: "f32" });
  const image = out.weights.toFloat32();
  for (let m = 0; m < M; m++) {
    const sum = total(image.subarray(m * d, (m + 1) * d).map((w, k) => (w - W[m * d + k]) ** 2));
    expect(out.loss[m]).toBeCloseTo(sum, 5);
  }
});

test("what cannot be quantised is refused by name", () => {
  const { W, H, M, d } = randomLayer(2, 16, 1);
  const weights = f32(W, [M, d]);
  const bad = (at: number, value: number, from: Float32Array) => from.map((x, i) => (i === at ? value : x));
  expect(() => quantize({ weights: f32(bad(3, Number.NaN, W), [M, d]), bits: 2 })).toThrow(/finite weights/);
  expect(() => quantize({ weights, hessian: f32(bad(0, Infinity, H), [d, d]), bits: 2 })).toThrow(/finite calibration/);
  expect(() => quantize({ weights, hessian: f32(new Float32Array(d * d), [d, d]), bits: 2 })).toThrow(/not all zero/);
  expect(() => quantize({ weights, hessian: f32(new Float32Array(9), [3, 3]), bits: 2 })).toThrow(
    expect.objectContaining({ code: "OUTRIDER_SHAPE" }),
  );
  expect(() =>
    quantize({
      weights: f32(
        W.map((w) => 1e6 * w),
        [M, d],
      ),
      bits: 2,
    }),
  ).toThrow(/fit f16/);
  for (const wrong of [
    { bits: 5 },
    { group: 0 },
    { method: "best" },
    { rounds: 0 },
    { damping: -1 },
    { scales: "f8" },
    { threads: 0 },
  ])
    expect(() => quantize({ weights, bits: 2, ...(wrong as object) })).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }),
    );
});

describeShared("a layer of SmolLM2", (folder) => {
  const file = path.join(folder, "golden/decoupleq/layer5-k_proj-w2g64.safetensors");

  test("reaches the reference losses", async () => {
    const values = async (name: string) => (await readTensor(file, name)) as Float32Array;
    const layer = { W: await values("W0"), H: await values("H"), M: 192, d: 576 };
    const atMost = async (found: ArrayLike<number>, name: string, ratio = 1.001) =>
      expect(total(found) / total(await values(name))).toBeLessThanOrEqual(ratio);
    const options = { bits: 2, group: 64, threads: 2 } as const;
    const rtn = run(layer, { ...options, method: "rtn" });
    expect(total(rtn.loss) / total(await values("loss_minmax"))).toBeCloseTo(1, 4);
    await atMost(run(layer, { ...options, method: "gptq" }).loss, "loss_gptq");
    const out = run(layer, options);
    const shrunk = out.steps.find(({ name }) => name === "shrink");
    expect((shrunk?.loss ?? 0) / total(await values("trace.shrink"))).toBeLessThanOrEqual(1.005); // 46 of its 160 spans are tried
    // The search for single better codes is ours.
    await atMost(out.loss, "loss_dq4", 0.95);
    const kept = run(layer, { ...options, scales: "f16" });
    await atMost(kept.loss, "loss_dq4", 0.95);
  });
});
