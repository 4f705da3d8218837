// The second engine: its batches do not wait for those of the first, nor they for them, and bits, aborts and disposal are the same.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { want } from "../../lib/native.ts";
import { code } from "../support/errors.ts";
import { openRuntime } from "../support/runtime.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel);
});
afterAll(() => runtime.dispose());

const rows = (count: number, wants = 0) => ({
  tokens: Int32Array.from({ length: count }, (_, i) => (i * 31) % 2000),
  sequence: new Int32Array(count),
  wants: new Uint8Array(count).fill(wants),
});

/** Fails unless two snapshots are the same. */
const expectSame = (found: Uint8Array, expected: Uint8Array) => expect(Buffer.compare(found, expected)).toBe(0);

/** One token after the other, so many native steps. */
const run = (cache: KvCache, repeat: number) => ({
  ...{ ...rows(1, want.sample), caches: [cache], samplers: [greedySampler(runtime.spec.vocab)] },
  ...{ repeat, beside: true, threads: 1 },
});

test("the same bits on either engine, on any number of threads, both at once", async () => {
  const logits = async (beside: boolean, threads?: number) => {
    const cache = runtime.newCache();
    await runtime.step({ ...rows(300), caches: [cache], beside, threads });
    const { logits } = await runtime.step({ ...rows(5, want.logits), caches: [cache], beside, threads });
    return { logits, image: await cache.save() };
  };
  const expected = await logits(false);
  for (const threads of [1, 2, 3]) {
    const both = await Promise.all([
      logits(true, threads),
      logits(false),
      logits(true, threads),
      logits(false, threads),
    ]);
    for (const found of both) {
      expect(found.logits).toEqual(expected.logits);
      expectSame(found.image, expected.image);
    }
  }
});

test("forks of one cache write on both engines at once, each to its own pages", async () => {
  const trunk = runtime.newCache();
  await runtime.step({ ...rows(70), caches: [trunk] });
  const write = async (cache: KvCache, count: number, beside: boolean) => {
    await runtime.step({ ...rows(count), caches: [cache], beside });
    return cache.save();
  };
  const alone = [await write(trunk.fork(), 3, false), await write(trunk.fork(), 9, false)];
  for (let i = 0; i < 30; i++) {
    const [a, b] = [trunk.fork(), trunk.fork()];
    const found = await Promise.all([write(a, 3, i % 2 === 0), write(b, 9, i % 2 === 1)]);
    for (const at of [0, 1]) expectSame(found[at], alone[at]);
    a.dispose();
    b.dispose();
  }
});

test("a batch beside runs while another one is in the middle of its only step", async () => {
  let first = 0;
  for (let i = 0; i < 40; i++) {
    const order: string[] = [];
    const [long, short] = [runtime.newCache(), runtime.newCache()];
    // As many rows as are one step also while others wait, which no other job of its engine can get between: there the second is never first.
    await Promise.all([
      runtime.step({ ...rows(32, want.logits), caches: [long] }).then(() => order.push("long")),
      runtime.step({ ...rows(1), caches: [short], beside: true }).then(() => order.push("beside")),
    ]);
    if (order[0] === "beside") first += 1;
  }
  expect(first).toBeGreaterThan(0);
});

test("and the other way round; calls beside do not count as calls to take turns with", async () => {
  const [long, short] = [runtime.newCache(), runtime.newCache()];
  let over = false;
  const running = runtime.step(run(long, 1500)).finally(() => {
    over = true;
  });
  expect(runtime.busy).toBe(false);
  const step = runtime.step({ ...rows(1), caches: [short] });
  expect(runtime.busy).toBe(true);
  await step;
  expect(over).toBe(false);
  expect((await running).sampled.length).toBe(1500);
});

test("jobs take turns on the engine beside as on the other", async () => {
  const order: string[] = [];
  const [a, b] = [runtime.newCache(), runtime.newCache()];
  await Promise.all([
    runtime.step(run(a, 600)).then(() => order.push("long")),
    runtime.step(run(b, 20)).then(() => order.push("short")),
  ]);
  expect(order).toEqual(["short", "long"]);
});

test("a cache and a sampler serve one job at a time, whatever the engine", async () => {
  const [cache, other] = [runtime.newCache(), runtime.newCache()];
  const batch = run(cache, 300);
  const running = runtime.step(batch);
  await expect(runtime.step({ ...rows(1), caches: [cache] })).rejects.toEqual(code("OUTRIDER_BUSY"));
  const same = { ...rows(1, want.sample), caches: [other], samplers: batch.samplers };
  await expect(runtime.step(same)).rejects.toEqual(code("OUTRIDER_BUSY"));
  expect(() => cache.truncate(0)).toThrow(code("OUTRIDER_BUSY"));
  await running;
  await runtime.step(same);
});

test("dispose() stops what runs and waits on both engines, and frees the next call's way", async () => {
  for (let wait = 0; wait < 8; wait++) {
    const other = await openRuntime(tinyModel);
    const running = [true, true, false, false].map((beside) => {
      const batch = { ...rows(1, want.sample), samplers: [greedySampler(other.spec.vocab)], repeat: 1900, beside };
      return other.step({ ...batch, caches: [other.newCache()] });
    });
    const outcomes = Promise.allSettled(running);
    await new Promise((resolve) => setTimeout(resolve, wait));
    await other.dispose();
    for (const outcome of await outcomes) {
      expect(outcome.status).toBe("rejected");
      expect((outcome as PromiseRejectedResult).reason).toEqual(code("OUTRIDER_DISPOSED"));
    }
  }
  expect((await runtime.step(run(runtime.newCache(), 3))).sampled.length).toBe(3);
});
