// What a draft model has read: how much is kept, what for, and that nothing is left behind.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import { DraftCaches } from "../../lib/generate/draft-caches.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { load, type Model } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
let runtime: Runtime;
beforeAll(async () => {
  model = await load(tinyModel);
  ({ runtime } = partsOf(model) as ModelParts);
});
afterAll(() => model.dispose());

const textOf = (start: number, count: number) => Array.from({ length: count }, (_, i) => 5 + ((start + i) % 200));

/** A cache that holds the text. */
async function holding(text: readonly number[]): Promise<KvCache> {
  const cache = runtime.newCache();
  const tokens = Int32Array.from(text);
  const rows = { tokens, sequence: new Int32Array(tokens.length), wants: new Uint8Array(tokens.length) };
  await runtime.step({ caches: [cache], samplers: [undefined], ...rows });
  return cache;
}

test("the longest beginning that is known, but for the last token, which is evaluated anew", async () => {
  const caches = new DraftCaches();
  const long = textOf(0, 30);
  caches.put(long, await holding(long));
  const other = [...long.slice(0, 12), 1, 2, 3, 4, 5];
  caches.put(other, await holding(other));
  expect(caches.take(runtime, [...long.slice(0, 20), 7, 7]).length).toBe(20);
  expect(caches.take(runtime, [...other, 9]).length).toBe(17);
  expect(caches.take(runtime, long).length).toBe(29);
  expect(caches.take(runtime, long.slice(0, 4)).length).toBe(0); // is read in no time
  expect(caches.take(runtime, textOf(100, 30)).length).toBe(0);
  expect(caches.take(runtime, []).length).toBe(0);
  caches.close();
});

test("a text takes the place of its own beginning, and the one used longest ago goes", async () => {
  const caches = new DraftCaches();
  const made: KvCache[] = [];
  const put = async (text: readonly number[]) => {
    const cache = await holding(text);
    made.push(cache);
    caches.put(text, cache);
  };
  for (const start of [0, 40, 80, 120]) await put(textOf(start, 20));
  caches.take(runtime, [...textOf(0, 20), 3]); // used again
  await put(textOf(40, 25)); // goes on with the second
  expect(made.map(({ disposed }) => disposed)).toEqual([false, true, false, false, false]);
  await put(textOf(160, 20));
  expect(made.map(({ disposed }) => disposed)).toEqual([false, true, true, false, false, false]);
  caches.close();
  expect(made.every(({ disposed }) => disposed)).toBe(true);
  await put(textOf(0, 20)); // a text that ends after that
  expect(made.at(-1)?.disposed).toBe(true);
});

test("the beginning of a kept text is not kept beside it", async () => {
  const caches = new DraftCaches();
  const [long, short] = [textOf(0, 30), textOf(0, 20)];
  const [first, second] = [await holding(long), await holding(short)];
  caches.put(long, first);
  caches.put(short, second);
  expect([first.disposed, second.disposed]).toEqual([false, true]);
  expect(caches.take(runtime, [...long, 9]).length).toBe(30);
  caches.close();
});

test("together no more tokens than a context, and nothing that is not what it is said to be", async () => {
  const caches = new DraftCaches();
  const { contextLength } = runtime.options;
  const half = Math.floor(contextLength / 2) + 1;
  const [a, b] = [textOf(0, half), textOf(50, half)];
  const [first, second] = [await holding(a), await holding(b)];
  caches.put(a, first);
  caches.put(b, second);
  expect([first.disposed, second.disposed]).toEqual([true, false]);
  const wrong = await holding(textOf(0, 20));
  caches.put(textOf(0, 21), wrong);
  expect(wrong.disposed).toBe(true);
  caches.close();
});
