// Trees that are evaluated level by level: rows that go on from scratch rows of earlier calls, and the first draws behind a row.
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import type { Runtime, RuntimeOptions } from "../../lib/model/runtime.ts";
import { native, want } from "../../lib/native.ts";
import { code } from "../support/errors.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
import { drawOrder } from "../support/sampler.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { sharedDir } from "../support/shared.ts";
import { tinyModel } from "../support/tiny.ts";

const shared = sharedDir();
const family = (name: string) => path.join(shared ?? "", "golden/families", name);
const cases: [name: string, folder: string, options: Partial<RuntimeOptions>][] = [
  ["f32 KV", tinyModel, { kv: "f32" }],
  ["f16 KV, int8", tinyModel, { kv: "f16", rounded: true }],
  ["bf16 KV, one thread", tinyModel, { kv: "bf16", threads: 1 }],
  ...(shared
    ? ([["f16 KV, sliding windows and soft caps (gemma2)", family("gemma2"), { kv: "f16" }]] as typeof cases)
    : []),
];

/** A tree whose nodes come by level, and how many nodes each level has. */
function randomTree(next: () => number, levels: readonly number[], vocab: number) {
  const token: number[] = [];
  const parent: number[] = [];
  let [above, before] = [0, 0];
  for (const count of levels) {
    for (let i = 0; i < count; i++) {
      // Some rows hang on any earlier level: a call may go on from wherever it likes.
      const anywhere = next() < 0.2;
      const from = anywhere ? 0 : above;
      parent.push(before === 0 ? -1 : from + Math.floor(next() * (before - from)));
      token.push(Math.floor(next() * vocab));
    }
    [above, before] = [before, token.length];
  }
  return { tokens: Int32Array.from(token), parents: Int32Array.from(parent) };
}

const bits = (floats: Float32Array | undefined) => Buffer.from((floats as Float32Array).slice().buffer);
const bytes = (values: Int32Array | Float64Array | undefined) => Buffer.from((values as Int32Array).slice().buffer);

describe.each(
  native
    .cpu()
    .levels.filter((level) => level !== "ref")
    .slice(-2),
)("on %s", (level) => {
  describe.each(cases)("%s", (_, folder, options) => {
    let runtime: Runtime;
    beforeAll(async () => {
      runtime = await openRuntime(folder, { ...options, level });
    });
    afterAll(() => runtime.dispose());

    const rowsOf = (tokens: Int32Array, wants: number) => ({
      ...{ tokens, sequence: new Int32Array(tokens.length), wants: new Uint8Array(tokens.length).fill(wants) },
      ...{ drawsK: 3 },
    });
    /** A cache that holds a text of `count` tokens, and a sampler that has seen it. */
    async function begun(count: number) {
      const cache = runtime.newCache();
      const next = uniform(count + 1);
      const text = Int32Array.from({ length: count }, () => Math.floor(next() * runtime.spec.vocab));
      const sampler = greedySampler(runtime.spec.vocab, { temperature: 1.1, repetitionPenalty: 1.4, seed: 9n });
      if (count > 0) await runtime.step({ ...rowsOf(text, 0), caches: [cache], samplers: [sampler] });
      return { caches: [cache], samplers: [sampler] };
    }

    test("rows of a tree in levels have the bits of the tree in one call: logits, draws and what is committed", async () => {
      const next = uniform(5);
      for (const [prefix, levels] of [
        [0, [2, 3]],
        [37, [1, 4, 6, 6, 5]],
        [63, [3, 20, 60, 60, 80, 33]],
        [100, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]],
      ] as [number, number[]][]) {
        const { tokens, parents } = randomTree(next, levels, runtime.spec.vocab);
        const wants = want.logits | want.draws | want.sample;
        const one = await begun(prefix);
        const whole = await runtime.step({ ...rowsOf(tokens, wants), parents, scratch: true, ...one });
        const many = await begun(prefix);
        const { vocab } = runtime.spec;
        let at = 0;
        for (const [level, count] of levels.entries()) {
          const part = await runtime.step({
            ...rowsOf(tokens.slice(at, at + count), wants),
            ...{ parents: parents.slice(at, at + count), scratch: true, continues: level > 0, ...many },
          });
          const same = (name: string, found: Buffer, wanted: Buffer) =>
            expect(found.equals(wanted), `${name} of level ${level} after ${prefix} tokens`).toBe(true);
          same("logits", bits(part.logits), bits(whole.logits?.subarray(at * vocab, (at + count) * vocab)));
          same("draws", bytes(part.drawIds), bytes(whole.drawIds?.subarray(3 * at, 3 * (at + count))));
          same("law", bytes(part.drawLogq), bytes(whole.drawLogq?.subarray(3 * at, 3 * (at + count))));
          same("noise", bytes(part.drawValues), bytes(whole.drawValues?.subarray(3 * at, 3 * (at + count))));
          expect(part.sampled).toEqual(whole.sampled.subarray(at, at + count));
          expect(Array.from(part.sampled)).toEqual(
            Array.from(part.drawIds as Int32Array).filter((_, i) => i % 3 === 0),
          );
          at += count;
        }
        const deepest: number[] = [];
        for (let node = tokens.length - 1; node >= 0; node = parents[node]) deepest.unshift(node);
        for (const { caches, samplers } of [one, many]) caches[0].commit(deepest, samplers[0]);
        expect(await many.caches[0].save()).toEqual(await one.caches[0].save());
        const last = async (of: typeof one) => runtime.step({ ...rowsOf(Int32Array.of(7), wants), ...of });
        const [a, b] = [await last(one), await last(many)];
        expect(b.logits).toEqual(a.logits);
        expect(b.drawValues).toEqual(a.drawValues); // penalties have seen the same
      }
    });

    test("two sequences go on beside each other, one of them with no row in a call", async () => {
      const [a, b] = [await begun(20), await begun(33)];
      const both = { caches: [...a.caches, ...b.caches], samplers: [...a.samplers, ...b.samplers] };
      const step = (rows: [sequence: number, token: number, parent: number][], continues: boolean) =>
        runtime.step({
          ...{ ...both, scratch: true, continues, wants: new Uint8Array(rows.length).fill(want.logits) },
          sequence: Int32Array.from(rows, ([s]) => s),
          tokens: Int32Array.from(rows, ([, token]) => token),
          parents: Int32Array.from(rows, ([, , parent]) => parent),
        });
      const { vocab } = runtime.spec;
      const row = (result: { logits?: Float32Array }, i: number) =>
        bits(result.logits?.subarray(i * vocab, (i + 1) * vocab));
      await step([[0, 5, -1], [1, 6, -1], [0, 7, -1]], false); // biome-ignore format: a line
      const second = await step([[0, 8, 1], [0, 9, 2]], true); // biome-ignore format: a line
      const third = await step([[1, 10, 0], [0, 11, 3]], true); // biome-ignore format: a line
      const plain = await step([[0, 7, -1], [0, 8, 0], [0, 9, 1], [0, 11, 2], [1, 6, -1], [1, 10, 4]], false); // biome-ignore format: a line
      expect(row(second, 0).equals(row(plain, 1)) && row(second, 1).equals(row(plain, 2))).toBe(true);
      expect(row(third, 1).equals(row(plain, 3)) && row(third, 0).equals(row(plain, 5))).toBe(true);
    });
  });
});

describe("what is refused", () => {
  let runtime: Runtime;
  beforeAll(async () => {
    runtime = await openRuntime(tinyModel, { kv: "f16" });
  });
  afterAll(() => runtime.dispose());

  const rows = (tokens: number[], parents: number[], more: object = {}) => ({
    ...{
      tokens: Int32Array.from(tokens),
      sequence: new Int32Array(tokens.length),
      wants: new Uint8Array(tokens.length),
    },
    ...{ parents: Int32Array.from(parents), scratch: true, ...more },
  });
  const on = { continues: true };
  async function grown(count = 3): Promise<KvCache> {
    const cache = runtime.newCache();
    await runtime.step({ ...rows([1, 2, 3, 4], []), parents: undefined, scratch: false, caches: [cache] });
    await runtime.step({
      ...rows(
        new Array(count).fill(5),
        Array.from({ length: count }, (_, i) => i - 1),
      ),
      caches: [cache],
    });
    return cache;
  }

  test.each([[-2], [3], [4], [255], [2 ** 31 - 1], [-(2 ** 31)]])(
    "a parent that is no earlier slot: %d",
    async (parent) => {
      const cache = await grown();
      const going = runtime.step({ ...rows([6], [parent], on), caches: [cache] });
      await expect(going).rejects.toEqual(
        code("OUTRIDER_ARGUMENT", /parent of row 0 to be -1 or a slot below 3, received/),
      );
      expect(cache.length).toBe(4);
    },
  );

  test("more than 1024 rows in all", async () => {
    const cache = await grown(200);
    await runtime.step({ ...rows(new Array(824).fill(6), new Array(824).fill(199), on), caches: [cache] });
    cache.commit(Array.from({ length: 200 }, (_, i) => i).concat(1023));
    expect(cache.length).toBe(4 + 201);
    const full = await grown(1024);
    const going = runtime.step({ ...rows([6], [0], on), caches: [full] });
    await expect(going).rejects.toEqual(
      code("OUTRIDER_ARGUMENT", /at most 1024 tree rows for a sequence, received 1025/),
    );
  });

  test.each<[string, (cache: KvCache) => unknown]>([
    ["nothing was evaluated", (cache) => cache.truncate(4)],
    [
      "tokens were appended",
      (cache) => runtime.step({ ...rows([9], []), parents: undefined, scratch: false, caches: [cache] }),
    ],
    ["a path was committed", (cache) => cache.commit([0])],
    ["tokens were taken back", (cache) => cache.truncate(2)],
    ["a snapshot was restored", async (cache) => cache.restore(await cache.save())],
    [
      "a call failed among them",
      (cache) =>
        runtime.step({ ...rows([9], [77], on), caches: [cache] }).then(
          () => expect.unreachable(),
          () => {},
        ),
    ],
  ])("rows are forgotten once %s", async (_, change) => {
    const cache = await grown();
    await change(cache);
    const going = runtime.step({ ...rows([6], [-1], on), caches: [cache] });
    await expect(going).rejects.toEqual(code("OUTRIDER_ARGUMENT", /has none or has been changed/));
    expect(() => cache.commit([0])).toThrow(code("OUTRIDER_ARGUMENT"));
  });

  test("a fork has none, and its origin keeps them", async () => {
    const cache = await grown();
    const fork = cache.fork();
    await expect(runtime.step({ ...rows([6], [-1], on), caches: [fork] })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await runtime.step({ ...rows([6], [2], on), caches: [cache] });
    cache.commit([0, 1, 2, 3]);
    expect(cache.length).toBe(8);
  });

  test("an abort forgets them and leaves the tokens", async () => {
    const cache = await grown();
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(runtime.step({ ...rows([6], [2], on), caches: [cache] }, controller.signal)).rejects.toThrow("enough");
    expect(cache.length).toBe(4);
  });

  test.each<[string, object, RegExp]>([
    ["rows that are appended", { scratch: false }, /scratch rows without verification/],
    [
      "rows that are verified",
      { verify: true, wants: Uint8Array.of(want.sample) },
      /scratch rows without verification/,
    ],
    ["embeddings after tokens", { tokens: undefined, embeddings: new Float32Array(64) }, /embeddings/],
    ["no draws", { wants: Uint8Array.of(want.draws) }, /draws_k between 1 and 64/],
    ["65 draws", { wants: Uint8Array.of(want.draws), drawsK: 65 }, /draws_k between 1 and 64/],
    ["draws without a sampler", { wants: Uint8Array.of(want.draws), drawsK: 2, samplers: undefined }, /a sampler/],
  ])("%s", async (_, more, message) => {
    const cache = await grown();
    const { hidden, vocab } = runtime.spec;
    const samplers = [greedySampler(vocab)];
    const batch = { ...rows([6], [-1], on), samplers, ...more };
    if ("embeddings" in batch) batch.embeddings = new Float32Array(hidden);
    await expect(runtime.step({ ...batch, caches: [cache] })).rejects.toEqual(code("OUTRIDER_ARGUMENT", message));
  });

  test("draws of an engine row are those of its logits", async () => {
    const { vocab } = runtime.spec;
    for (const options of [
      {},
      { temperature: 0.8 },
      { temperature: 1.5, topK: 7, minP: 0.01 },
      { temperature: 1, topP: 0.9 },
    ]) {
      const cache = runtime.newCache();
      const samplers = [greedySampler(vocab, { ...options, seed: 77n })];
      const batch = {
        ...rows([5, 6, 7], []),
        parents: undefined,
        scratch: false,
        caches: [cache],
        samplers,
        drawsK: 9,
      };
      const result = await runtime.step({ ...batch, wants: new Uint8Array(3).fill(want.logits | want.draws) });
      for (let row = 0; row < 3; row++) {
        const logits = (result.logits as Float32Array).slice(row * vocab, (row + 1) * vocab);
        const order = drawOrder({ logits, ...options, seed: 77, position: row + 1 }).slice(0, 9);
        const ids = Array.from(result.drawIds?.subarray(9 * row, 9 * row + 9) ?? []);
        expect(ids).toEqual(Array.from({ length: 9 }, (_, k) => order[k]?.id ?? -1));
        for (const [k, { logq, value }] of order.entries()) {
          expect(result.drawLogq?.[9 * row + k]).toBeCloseTo(logq, 10);
          expect(result.drawValues?.[9 * row + k]).toBeCloseTo(value, 10);
        }
      }
      expect(result.sampled.length).toBe(0); // nobody asked for one
    }
  });
});
