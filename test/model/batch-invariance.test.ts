// A row's logits have the same bits however its prompt is chunked, whatever else is in the call, and whether its ancestors are
// committed tokens or tree rows of the same call. Random chunkings, batches and trees on each CPU level.
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import type { Runtime, RuntimeOptions } from "../../lib/model/runtime.ts";
import { native, want } from "../../lib/native.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
import { sharedDir } from "../support/shared.ts";
import { tinyModel } from "../support/tiny.ts";

const length = 150; // three pages of the KV cache, and sliding windows of 16 many times over
const shared = sharedDir();
const family = (name: string) => path.join(shared ?? "", "golden/families", name);

const cases: [name: string, folder: string, options: Partial<RuntimeOptions>][] = [
  ["u8 weights, float, f32 KV", tinyModel, {}],
  ["u8 weights, int8, f16 KV, three threads for two KV heads", tinyModel, { rounded: true, kv: "f16", threads: 3 }],
  ["u8 weights, int8, bf16 KV, one thread", tinyModel, { rounded: true, kv: "bf16", threads: 1 }],
  ...(shared
    ? ([
        ["f32 weights, sliding window and soft caps (gemma2)", family("gemma2"), { kv: "f16" }],
        ["f32 weights, NoPE layers (smollm3)", family("smollm3-nope"), {}],
      ] as [string, string, Partial<RuntimeOptions>][])
    : []),
];

/** Rows of one batch: their sequence among `caches`, token and, for trees, parent row. */
type Row = { cache: number; token: number; parent?: number };

describe.each(native.cpu().levels)("on %s", (level) => {
  describe.each(cases)("%s", (_, folder, options) => {
    let runtime: Runtime;
    let texts: Int32Array[];
    let lone: Int32Array[]; // bits of the logits of each text, evaluated by itself in one call

    /** Evaluates rows and gives the bits of their logits, one array per row. */
    async function evaluate(caches: KvCache[], rows: Row[], scratch = false): Promise<Int32Array[]> {
      const { vocab } = runtime.spec;
      const { logits = new Float32Array() } = await runtime.step({
        caches,
        tokens: Int32Array.from(rows, (row) => row.token),
        sequence: Int32Array.from(rows, (row) => row.cache),
        parents: scratch ? Int32Array.from(rows, (row) => row.parent ?? -1) : undefined,
        wants: new Uint8Array(rows.length).fill(want.logits),
        scratch,
      });
      expect(logits.length).toBe(rows.length * vocab);
      expect(logits.every(Number.isFinite)).toBe(true);
      return rows.map((_row, i) => new Int32Array(logits.buffer, i * vocab * 4, vocab));
    }

    const rowsOf = (text: Int32Array, from = 0, to = text.length, cache = 0): Row[] =>
      Array.from(text.subarray(from, to), (token) => ({ cache, token }));
    const sameBits = (a: Int32Array, b: Int32Array, what: string) => {
      if (
        Buffer.compare(
          new Uint8Array(a.buffer, a.byteOffset, a.byteLength),
          new Uint8Array(b.buffer, b.byteOffset, b.byteLength),
        ) !== 0
      )
        throw new Error(`${what}: logits differ in bits`);
    };

    beforeAll(async () => {
      runtime = await openRuntime(folder, { ...options, level });
      const next = uniform(11);
      texts = [0, 1].map(() => Int32Array.from({ length }, () => Math.floor(next() * runtime.spec.vocab)));
      lone = [];
      for (const text of texts) {
        const cache = runtime.newCache();
        lone.push(...(await evaluate([cache], rowsOf(text))));
        cache.dispose();
      }
    });
    afterAll(() => runtime.dispose());

    test("any chunking gives the same bits", async () => {
      const next = uniform(21);
      for (const widest of [3, 17, 70, length]) {
        const cache = runtime.newCache();
        for (let at = 0; at < length; ) {
          const to = Math.min(length, at + 1 + Math.floor(next() * widest));
          for (const [i, bits] of (await evaluate([cache], rowsOf(texts[0], at, to))).entries())
            sameBits(bits, lone[at + i], `token ${at + i} in a chunk from ${at} to ${to}`);
          at = to;
        }
        expect(cache.length).toBe(length);
        cache.dispose();
      }
    });

    test("other sequences in the call change nothing", async () => {
      const next = uniform(31);
      const caches = [runtime.newCache(), runtime.newCache()];
      const at = [0, 0];
      while (at[0] + at[1] < 2 * length) {
        const rows: Row[] = [];
        const expected: Int32Array[] = [];
        for (let i = Math.floor(next() * 40); i >= 0; i--) {
          const cache = at[0] === length || (at[1] < length && next() < 0.5) ? 1 : 0;
          if (at[cache] === length) break;
          expected.push(lone[cache * length + at[cache]]);
          rows.push({ cache, token: texts[cache][at[cache]++] });
        }
        for (const [i, bits] of (await evaluate(caches, rows)).entries()) sameBits(bits, expected[i], `row ${i}`);
      }
    });

    test("tree rows have the bits of their path as committed tokens", async () => {
      const next = uniform(41);
      for (const prefix of [0, 1, 62, 64, 100]) {
        const cache = runtime.newCache();
        if (prefix > 0) await evaluate([cache], rowsOf(texts[0], 0, prefix));
        const rows: Row[] = [];
        // The true continuation is hidden among random branches; a quarter of the parents are roots or anything earlier.
        const truth: number[] = [];
        while (truth.length < 20) {
          if (next() < 0.4) {
            truth.push(rows.length);
            rows.push({ cache: 0, token: texts[0][prefix + truth.length - 1], parent: truth.at(-2) ?? -1 });
          } else {
            const parent = Math.floor(next() * (rows.length + 1)) - 1;
            rows.push({ cache: 0, token: Math.floor(next() * runtime.spec.vocab), parent });
          }
        }
        const tree = await evaluate([cache], rows, true);
        expect(cache.length).toBe(prefix);
        for (const [i, row] of truth.entries())
          sameBits(tree[row], lone[prefix + i], `prefix ${prefix}, path row ${i}`);
        // Some other leaves, each against a fork that takes its path one token at a time.
        for (let leaf = rows.length - 1; leaf >= 0; leaf -= 7) {
          const ancestors: number[] = [];
          for (let row = leaf; row >= 0; row = rows[row].parent ?? -1) ancestors.unshift(row);
          const fork = cache.fork();
          for (const row of ancestors)
            sameBits(
              (await evaluate([fork], [{ cache: 0, token: rows[row].token }]))[0],
              tree[row],
              `branch row ${row}`,
            );
          fork.dispose();
        }
        // Accept part of the path, and go on as if nothing had been speculated.
        const accepted = 1 + Math.floor(next() * truth.length);
        await evaluate([cache], rows, true);
        cache.commit(truth.slice(0, accepted));
        expect(cache.length).toBe(prefix + accepted);
        const rest = await evaluate([cache], rowsOf(texts[0], prefix + accepted, prefix + 24));
        for (const [i, bits] of rest.entries())
          sameBits(bits, lone[prefix + accepted + i], `after the commit, row ${i}`);
        cache.dispose();
      }
    });

    test("truncate, fork, save and restore leave the same sequence", async () => {
      const cache = runtime.newCache();
      await evaluate([cache], rowsOf(texts[0], 0, 130));
      const fork = cache.fork();
      fork.truncate(70);
      await evaluate([fork], rowsOf(texts[1], 0, 30)); // into a page that both share
      const image = await cache.save();
      cache.truncate(70);
      const restored = runtime.newCache();
      await restored.restore(image);
      expect([cache.length, fork.length, restored.length]).toEqual([70, 100, 130]);
      for (const [i, bits] of (await evaluate([cache], rowsOf(texts[0], 70))).entries())
        sameBits(bits, lone[70 + i], `truncated, row ${i}`);
      for (const [i, bits] of (await evaluate([restored], rowsOf(texts[0], 130))).entries())
        sameBits(bits, lone[130 + i], `restored, row ${i}`);
    });

    test("a split range of layers composes to the whole", async () => {
      const { hidden, vocab, layers } = runtime.spec;
      const [lower, upper] = [runtime.newCache(), runtime.newCache()];
      const rows = 33;
      const common = { sequence: new Int32Array(rows) };
      const tokens = texts[0].slice(0, rows);
      const first = await runtime.step({
        ...common,
        caches: [lower],
        tokens,
        wants: new Uint8Array(rows).fill(want.hidden),
        layerEnd: 2,
      });
      expect(first.hidden?.length).toBe(rows * hidden);
      const { logits = new Float32Array() } = await runtime.step({
        ...common,
        caches: [upper],
        embeddings: first.hidden,
        wants: new Uint8Array(rows).fill(want.logits),
        layerBegin: 2,
      });
      for (let i = 0; i < rows; i++) sameBits(new Int32Array(logits.buffer, i * vocab * 4, vocab), lone[i], `row ${i}`);

      // Skipping all of a layer is leaving it out.
      const skip = Uint8Array.from(layers, (_layer, i) => (i < 2 ? 0 : 1));
      const skipped = await runtime.step({
        ...common,
        caches: [runtime.newCache()],
        tokens,
        wants: new Uint8Array(rows).fill(want.hidden),
        skipAttention: skip,
        skipMlp: skip,
      });
      expect(skipped.hidden).toEqual(first.hidden);
    });
  });
});
