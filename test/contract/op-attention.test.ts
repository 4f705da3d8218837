import { describe, expect, test } from "vitest";
import { attention, f32, i32, KvPages, opLevels } from "../../lib/ops/index.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { fromBf16, fromF16, toBf16, toF16 } from "../../lib/tensor/dtype.ts";
import { type Expected, expectClose, unit } from "../support/close.ts";
import { normal, uniform } from "../support/random.ts";

type KvType = "f32" | "f16" | "bf16";
const rounding = { f32: Math.fround, f16: (v: number) => fromF16(toF16(v)), bf16: (v: number) => fromBf16(toBf16(v)) };

interface Case {
  H: number;
  G: number;
  D: number;
  type: KvType;
  window?: number;
  softCap?: number;
}

/** Random keys and values of `tokens` tokens, `[tokens, G, D]`. */
function makeKv({ G, D, type }: Case, tokens: number, seed: number) {
  const keys = normal(tokens * G * D, seed);
  const values = normal(tokens * G * D, seed + 1);
  const pages = new KvPages(type, G, D);
  const size = G * D;
  for (let t = 0; t < tokens; t++)
    pages.append(
      f32(keys.slice(t * size, (t + 1) * size), [G, D]),
      f32(values.slice(t * size, (t + 1) * size), [G, D]),
    );
  return { keys: keys.map(rounding[type]), values: values.map(rounding[type]), pages };
}

/**
 * float64 attention of row n over the tokens listed in sees[n] (oldest first). A score of D multiply-adds is off by (D + 4) u of its
 * summed magnitudes, or by 5e-7 softCap; weights inherit that as a relative error, and a sum of T of them and of weighted values adds
 * (T + 16) u. Values cancel, so their magnitudes count. Kernels of bf16 products round queries to bf16, which is done here too, and
 * weights, by u16 = 2^-9 of each, from an exponential that is off by 6e-5: numerator and denominator each inherit both.
 */
function reference(
  c: Case,
  q: Float32Array,
  sees: { keys: Float32Array; values: Float32Array; token: number }[][],
  bf16Products: boolean,
): Expected {
  const { H, G, D, window = 0, softCap = 0 } = c;
  const scale = Math.fround(1 / Math.sqrt(D));
  const value = new Float64Array(q.length);
  const tolerance = new Float64Array(q.length);
  sees.forEach((all, n) => {
    const visible = window > 0 ? all.slice(-window) : all;
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      const at = (n * H + h) * D;
      let off = 0;
      const scores = visible.map(({ keys, token }) => {
        let sum = 0;
        let magnitude = 0;
        for (let d = 0; d < D; d++) {
          const product = (bf16Products ? rounding.bf16(q[at + d]) : q[at + d]) * keys[(token * G + g) * D + d];
          sum += product;
          magnitude += Math.abs(product);
        }
        off = Math.max(off, (D + 4) * unit * magnitude * scale);
        return softCap > 0 ? softCap * Math.tanh((sum * scale) / softCap) : sum * scale;
      });
      if (softCap > 0) off += 5e-7 * softCap;
      const largest = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - largest));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let d = 0; d < D; d++) {
        let sum = 0;
        let magnitude = 0;
        visible.forEach(({ values, token }, j) => {
          const part = (weights[j] / total) * values[(token * G + g) * D + d];
          sum += part;
          magnitude += Math.abs(part);
        });
        value[at + d] = sum;
        tolerance[at + d] =
          magnitude * (4 * off + (visible.length + 48) * unit + (bf16Products ? 2 * (2 ** -9 + 6e-5) : 0)) + 1e-30;
      }
    }
  });
  return { value, tolerance };
}

const cases: Case[] = [
  { H: 4, G: 2, D: 32, type: "f32" },
  { H: 9, G: 3, D: 64, type: "f16" },
  { H: 5, G: 1, D: 20, type: "bf16" },
  { H: 2, G: 2, D: 7, type: "f32", window: 5 },
  { H: 8, G: 2, D: 16, type: "f16", window: 70, softCap: 3 },
  { H: 8, G: 1, D: 64, type: "bf16" },
  { H: 3, G: 1, D: 37, type: "bf16", window: 70, softCap: 3 },
  { H: 4, G: 2, D: 128, type: "bf16", window: 33 },
];

describe.each(opLevels("attention"))("attention on %s", (level) => {
  describe.each(cases)("H $H, G $G, D $D, $type, window $window, cap $softCap", (c) => {
    const { H, D, window, softCap } = c;
    const bf16Products = level === "avx512" && c.type === "bf16";
    /** Attention of rows at these positions over `kv`. */
    const rowsAt = (q: Float32Array, kv: KvPages, rows: number[]) =>
      attention({
        q: f32(q, [rows.length, H, D]),
        kv,
        positions: i32(rows, [rows.length]),
        window,
        softCap,
        level,
      }).data;
    const rowOf = (values: Float32Array, n: number) => values.slice(n * H * D, (n + 1) * H * D);

    test.each([1, 2, 63, 64, 65, 128, 200])("committed prefix of %i tokens", (tokens) => {
      const { keys, values, pages } = makeKv(c, tokens, tokens);
      const rows = [...new Set([0, Math.floor(tokens / 2), tokens - 1])];
      const q = normal(rows.length * H * D, 9, 2);
      const sees = rows.map((row) => Array.from({ length: row + 1 }, (_, token) => ({ keys, values, token })));
      expectClose(rowsAt(q, pages, rows), reference(c, q, sees, bf16Products), `${tokens} tokens`);
    });

    test.each([0, 1, 63, 64, 65, 130])("random trees above a prefix of %i tokens", (prefix) => {
      const committed = makeKv(c, prefix, prefix + 1);
      const next = uniform(prefix + 5);
      const N = 23;
      const parents = Array.from({ length: N }, (_, n) => Math.floor(next() * (n + 1)) - 1);
      const nodes = makeKv(c, N, prefix + 2);
      const q = normal(N * H * D, 11, 2);
      const paths = parents.map((_, n) => {
        const path: number[] = [];
        for (let row = n; row >= 0; row = parents[row]) path.unshift(row);
        return path;
      });
      const tree = { kv: nodes.pages, parents: i32(parents, [N]) };
      const out = attention({ q: f32(q, [N, H, D]), kv: committed.pages, tree, window, softCap, level });
      const sees = paths.map((path) => [
        ...Array.from({ length: prefix }, (_, token) => ({ ...committed, token })),
        ...path.map((token) => ({ ...nodes, token })),
      ]);
      expectClose(out.data, reference(c, q, sees, bf16Products), `tree above ${prefix}`);

      // The same row with its path committed gives the same bits.
      const deepest = paths.reduce((best, path, n) => (path.length > paths[best].length ? n : best), 0);
      const merged = new KvPages(c.type, c.G, D);
      const size = c.G * D;
      for (const { keys, values, token } of sees[deepest]) {
        merged.append(
          f32(keys.slice(token * size, (token + 1) * size), [c.G, D]),
          f32(values.slice(token * size, (token + 1) * size), [c.G, D]),
        );
      }
      expect(rowsAt(rowOf(q, deepest), merged, [merged.length - 1])).toEqual(rowOf(out.data, deepest));
    });

    test("a row's bits do not depend on the other rows", () => {
      const { pages } = makeKv(c, 150, 3);
      const rows = Array.from({ length: 40 }, (_, i) => 110 + i);
      const q = normal(rows.length * H * D, 4);
      const all = rowsAt(q, pages, rows);
      for (const n of [0, 1, 17, 39]) expect(rowsAt(rowOf(q, n), pages, [rows[n]])).toEqual(rowOf(all, n));
    });

    test("infinity and NaN reach the rows that see them and no other", () => {
      const next = uniform(77);
      for (let round = 0; round < 6; round++) {
        const pages = new KvPages(c.type, c.G, D);
        const bad = new Set<number>();
        const tokens = 20 + Math.floor(next() * 140);
        for (let t = 0; t < tokens; t++) {
          const pair = [normal(c.G * D, 2 * t), normal(c.G * D, 2 * t + 1)];
          // 70000 overflows in f16, which is how a finite model gets there.
          const poison = [Number.POSITIVE_INFINITY, Number.NaN, 70000, Number.NEGATIVE_INFINITY][
            Math.floor(next() * 4)
          ];
          if (next() < 0.03) {
            pair[next() < 0.3 ? 0 : 1].fill(poison);
            if (c.type === "f16" || poison !== 70000) bad.add(t);
          }
          pages.append(f32(pair[0], [c.G, D]), f32(pair[1], [c.G, D]));
        }
        // Rows close together share tiles; some repeat, some go back.
        const rows = Array.from({ length: 30 }, (_, i) =>
          Math.floor(next() < 0.5 ? (i * tokens) / 30 : next() * tokens),
        );
        const q = normal(rows.length * H * D, round);
        const all = rowsAt(q, pages, rows);
        rows.forEach((row, n) => {
          const alone = rowsAt(rowOf(q, n), pages, [row]);
          expect(rowOf(all, n), `row ${n} at ${row} of ${tokens}`).toEqual(alone);
          const first = window ? Math.max(0, row - window + 1) : 0;
          if (![...bad].some((t) => t >= first && t <= row)) expect(alone.every(Number.isFinite)).toBe(true);
        });
      }
    });
  });
});

test("refuses trees larger than it takes, before it makes room for them", () => {
  const kv = new KvPages("f32", 1, 4);
  const nodes = new KvPages("f32", 1, 4);
  const N = 1025;
  for (let n = 0; n < N; n++) nodes.append(f32(new Float32Array(4), [1, 4]), f32(new Float32Array(4), [1, 4]));
  const chain = (count: number) => ({
    q: f32(new Float32Array(count * 4), [count, 1, 4]),
    kv,
    tree: {
      kv: nodes,
      parents: i32(
        Array.from({ length: count }, (_, n) => n - 1),
        [count],
      ),
    },
  });
  expect(attention(chain(N - 1)).shape).toEqual([N - 1, 1, 4]);
  expect(() => attention(chain(N))).toThrow(/at most 1024 rows in a tree, received 1025/);
  // Nothing is sized by N before the arrays are known to hold as much.
  const huge = 100_000;
  const before = process.memoryUsage().rss;
  const args = {
    ...{ q: new Float32Array(1), out: new Float32Array(1), N: huge, H: 1, G: 1, D: 4, pages: new Float32Array() },
    ...{ scratch: new Float32Array(), kvType: "f32" as const, prefix: 0, window: 0, scale: 1, softCap: 0, threads: 1 },
  };
  const parents = Int32Array.from({ length: huge }, (_, n) => n - 1);
  const positions = Int32Array.from({ length: huge }, (_, n) => n);
  expect(() => nativeOps.attention({ ...args, parents, positions })).toThrow(/400000 elements for q/);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
});

test("refuses what does not fit", () => {
  const pages = new KvPages("f32", 2, 4);
  pages.append(f32(new Float32Array(8), [2, 4]), f32(new Float32Array(8), [2, 4]));
  const q = f32(new Float32Array(12), [1, 3, 4]);
  expect(() => attention({ q, kv: pages, positions: i32([0], [1]) })).toThrow(/divisible by 2 kv heads/);
  const fits = f32(new Float32Array(16), [1, 4, 4]);
  expect(() => attention({ q: fits, kv: pages, positions: i32([1], [1]) })).toThrow(/positions\[0\]/);
  expect(() => attention({ q: fits, kv: pages, tree: { kv: pages, parents: i32([0], [1]) } })).toThrow(/parents\[0\]/);
});

test("threads change no bit, more of them than KV heads neither", () => {
  const c: Case = { H: 6, G: 3, D: 32, type: "f16" };
  const { pages } = makeKv(c, 130, 3);
  const input = { q: f32(normal(5 * 6 * 32, 4), [5, 6, 32]), kv: pages, positions: i32([129, 0, 64, 63, 100], [5]) };
  const one = attention(input).data;
  for (const threads of [2, 5]) expect(attention({ ...input, threads }).data).toEqual(one);
  expect(() => attention({ ...input, threads: 0.5 })).toThrow(/threads/);
});
