// The hand-written backward pass of a decoder block against central differences of a forward pass in float64.
import { describe, expect, test } from "vitest";
import type { DecoderSpec } from "../../lib/native.ts";
import { opLevels } from "../../lib/ops/index.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { bf16Levels, expectNear } from "../support/gradients.ts";
import { normal } from "../support/random.ts";

interface Case {
  spec: DecoderSpec;
  parts: Float32Array[];
  biases?: Float32Array[];
  norms: Float32Array[];
  T: number;
  x: Float32Array;
  target: Float32Array;
}

/** hidden, ffn, heads, KV heads, head size, tokens. */
const sizes = {
  odd: [12, 20, 4, 2, 6, 9],
  ofTiles: [64, 96, 4, 2, 16, 64],
  ofPartsOfTiles: [72, 99, 4, 1, 18, 64],
} as const;

function makeCase(
  change: Partial<DecoderSpec>,
  { window = 0, bias = false, rope = 0, size = "odd" as keyof typeof sizes } = {},
): Case {
  const [hidden, ffn, heads, kvHeads, headDim, T] = sizes[size];
  const inv = Float32Array.from({ length: headDim / 2 }, (_, i) => 100 ** (-i / (headDim / 2)));
  const spec = {
    ...{ family: "llama", hidden, ffn, vocab: 16, heads, kvHeads, headDim, contextLength: 64, normEps: 1e-5 },
    ...{ activation: "silu", qkNorm: "none", embeddingScale: 1, residualScale: 1, attentionScale: headDim ** -0.5 },
    ...{ attentionSoftCap: 0, logitScale: 1, logitSoftCap: 0 },
    ropes: [{ invFreq: inv, magnitude: 1, interleaved: false }],
    layers: [{ rope, window }],
    ...change,
  } as unknown as DecoderSpec;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const counts = [q * hidden, kv * hidden, kv * hidden, hidden * q, ffn * hidden, ffn * hidden, hidden * ffn];
  const parts = counts.map((count, i) => normal(count, i + 1, 0.35 * Math.sqrt(sizes.odd[0] / hidden)));
  const around1 = (length: number, seed: number) => normal(length, seed, 0.2).map((value) => 1 + value);
  return {
    ...{ spec, parts, T, x: normal(T * hidden, 20), target: normal(T * hidden, 21, 1.5) },
    biases: bias ? [normal(q, 30, 0.3), normal(kv, 31, 0.3), normal(kv, 32, 0.3)] : undefined,
    norms: [around1(hidden, 10), around1(hidden, 11), around1(headDim, 12), around1(headDim, 13)],
  };
}

/** The block and its loss in float64. */
function lossOf({ spec, parts, biases, norms, T, x, target }: Case): number {
  const { hidden, ffn, heads, kvHeads, headDim: D, normEps, residualScale: r, attentionScale } = spec;
  const { window, rope } = spec.layers[0];
  const linear = (at: number, rows: number, cols: number, input: number[]) =>
    Array.from({ length: rows }, (_, m) => {
      let sum = biases?.[at]?.[m] ?? 0;
      for (let k = 0; k < cols; k++) sum += parts[at][m * cols + k] * input[k];
      return sum;
    });
  const norm = (input: number[], weight: Float32Array) => {
    const size = Math.sqrt(input.reduce((sum, value) => sum + value * value, 0) / input.length + normEps);
    return input.map((value, i) => (value / size) * weight[i]);
  };
  const rotate = (head: number[], t: number) => {
    if (rope < 0) return head;
    const { invFreq, magnitude, interleaved } = spec.ropes[rope];
    const out = [...head];
    invFreq.forEach((frequency, i) => {
      const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + invFreq.length];
      const [cos, sin] = [Math.cos(t * frequency) * magnitude, Math.sin(t * frequency) * magnitude];
      out[a] = head[a] * cos - head[b] * sin;
      out[b] = head[b] * cos + head[a] * sin;
    });
    return out;
  };
  const rows = Array.from({ length: T }, (_, t) => Array.from(x.subarray(t * hidden, (t + 1) * hidden)));
  const heads_ = (values: number[], count: number, t: number, weight: Float32Array) =>
    Array.from({ length: count }, (_, h) => {
      const head = values.slice(h * D, (h + 1) * D);
      return rotate(spec.qkNorm === "head" ? norm(head, weight) : head, t);
    });
  const inputs = rows.map((row) => norm(row, norms[0]));
  const q = inputs.map((a, t) => heads_(linear(0, heads * D, hidden, a), heads, t, norms[2]));
  const k = inputs.map((a, t) => heads_(linear(1, kvHeads * D, hidden, a), kvHeads, t, norms[3]));
  const v = inputs.map((a) => linear(2, kvHeads * D, hidden, a));
  let loss = 0;
  for (let t = 0; t < T; t++) {
    const context: number[] = [];
    for (let h = 0; h < heads; h++) {
      const g = Math.floor(h / (heads / kvHeads));
      const from = window > 0 ? Math.max(0, t - window + 1) : 0;
      const scores = Array.from({ length: t + 1 - from }, (_, j) =>
        q[t][h].reduce((sum, value, i) => sum + value * k[from + j][g][i] * attentionScale, 0),
      );
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let i = 0; i < D; i++)
        context.push(weights.reduce((sum, weight, j) => sum + (weight / total) * v[from + j][g * D + i], 0));
    }
    const h = linear(3, hidden, heads * D, context).map((value, i) => rows[t][i] + r * value);
    const m = norm(h, norms[1]);
    const gate = linear(4, ffn, hidden, m);
    const up = linear(5, ffn, hidden, m);
    const y = linear(
      6,
      hidden,
      ffn,
      gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]),
    ).map((value, i) => h[i] + r * value);
    let [error, size] = [0, 0];
    for (let i = 0; i < hidden; i++) {
      error += (y[i] - target[t * hidden + i]) ** 2;
      size += target[t * hidden + i] ** 2;
    }
    loss += error / size / T;
  }
  return loss;
}

const cases: [string, Case][] = [
  ["llama", makeCase({})],
  [
    "interleaved RoPE with a magnitude",
    makeCase({ ropes: [{ invFreq: Float32Array.of(1, 0.3, 0.1), magnitude: 1.3, interleaved: true }] }),
  ],
  ["no RoPE, a residual scale", makeCase({ residualScale: 0.6 }, { rope: -1 })],
  ["mistral: a window", makeCase({}, { window: 4 })],
  ["qwen2: biases", makeCase({}, { bias: true })],
  ["qwen3: norms of heads", makeCase({ qkNorm: "head" })],
];

describe.each(opLevels("gemm"))("block gradients on %s", (level) => {
  test.each(cases)("%s", (_, sample) => {
    const found = nativeOps.blockGradients(sample, level);
    expect(found.loss / lossOf(sample)).toBeCloseTo(1, 5);
    const check = (name: string, values: Float32Array, gradient: Float32Array) => {
      expect(gradient.length).toBe(values.length);
      const size = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0) / gradient.length);
      expect(size).toBeGreaterThan(0);
      for (let i = 0; i < values.length; i += Math.max(1, Math.floor(values.length / 40))) {
        const before = values[i];
        values[i] = before + 2 ** -8; // steps that f32 holds
        const above = values[i] - before;
        const high = lossOf(sample);
        values[i] = before - 2 ** -8;
        const below = before - values[i];
        const low = lossOf(sample);
        values[i] = before;
        // The third derivative leaves about step^2, f32 sums about 1e-6 of the gradient's size.
        expect(Math.abs((high - low) / (above + below) - gradient[i]), `${name} ${i}`).toBeLessThan(
          2e-3 * size + 1e-3 * Math.abs(gradient[i]),
        );
      }
    };
    for (const [part, values] of sample.parts.entries()) check(`part ${part}`, values, found.parts[part]);
    for (const [i, gradient] of found.norms.entries()) check(`norm ${i}`, sample.norms[i], gradient);
    expect(found.norms.length).toBe(sample.spec.qkNorm === "head" ? 4 : 2);
    check("x", sample.x, found.x);
  });

  // The last have rows and inputs enough for kernels of matrix registers, in all of their products or in some.
  const tiled = (["ofTiles", "ofPartsOfTiles"] as const).map(
    (size) => [size, makeCase({}, { bias: true, size })] as const,
  );
  test.each([...cases, ...tiled])("%s with factors in bf16", (name, sample) => {
    const exact = nativeOps.blockGradients(sample, level);
    const rounded = nativeOps.blockGradients({ ...sample, bf16: true }, level);
    const of = ({ parts, norms, x }: typeof exact) => [...parts, ...norms, x];
    // Levels without products of bf16 keep f32. On the others each of up to six products in a row has two factors that
    // are off by 2^-8 at most, independently; what lies between the products at most doubles that.
    if (bf16Levels.includes(level)) expectNear(of(rounded), of(exact), 2 * Math.sqrt(2 * 6) * 2 ** -8);
    else expect(rounded).toEqual(exact);
    // Tiles sum in another order, which now and then rounds a factor of the next product to the other side: not the bits
    // of vectors, and no further from them than a fraction of what rounding does.
    if (level !== "avx512-amx" || !tiled.some(([size]) => size === name)) return;
    expectNear(of(rounded), of(nativeOps.blockGradients({ ...sample, bf16: true }, "avx512")), 2 ** -10);
  });
});

test("other kinds of block are refused", () => {
  const sample = makeCase({ activation: "gelu" });
  expect(() => nativeOps.blockGradients(sample)).toThrow(expect.objectContaining({ code: "OUTRIDER_UNSUPPORTED" }));
});
