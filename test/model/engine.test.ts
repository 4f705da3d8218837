// The engine batch and the KV cache: what they refuse, and what they count.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Runtime } from "../../lib/model/runtime.ts";
import { native, want } from "../../lib/native.ts";
import { defaultModel, openRuntime } from "../support/runtime.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(defaultModel, { kv: "f16" });
});
afterAll(() => runtime.dispose());

const code = (expected: string) => expect.objectContaining({ name: "OutriderError", code: expected });
const rows = (count: number, wants = 0) => ({
  tokens: Int32Array.from({ length: count }, (_, i) => i),
  sequence: new Int32Array(count),
  wants: new Uint8Array(count).fill(wants),
});

const sampler = (vocab: number) =>
  new native.NativeSampler({
    vocab,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    typicalP: 1,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
    seed: 1n,
    history: new Int32Array(),
    penaltyWindow: 0,
    biasIds: new Int32Array(),
    bias: new Float32Array(),
    suppressed: new Int32Array(),
    suppressedEarly: new Int32Array(),
    minPosition: 0,
  });

test("a sampler draws for the vocabulary it was made for, and only that", async () => {
  const caches = [runtime.newCache()];
  const batch = { ...rows(3, want.sample), caches };
  const { sampled } = await runtime.step({ ...batch, samplers: [sampler(runtime.spec.vocab)] });
  expect(sampled.length).toBe(3);
  await expect(runtime.step({ ...batch, samplers: [sampler(7)] })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  await expect(runtime.step(batch)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
});

test("the KV cache counts its bytes: whole pages of 64 tokens", async () => {
  const { layers, kvHeads, headDim } = runtime.spec;
  const page = layers.length * kvHeads * headDim * 2 * 64 * 2;
  const cache = runtime.newCache();
  const seen: number[] = [cache.bytes];
  for (const count of [1, 63, 1, 64]) {
    await runtime.step({ ...rows(count), caches: [cache] });
    seen.push(cache.bytes);
  }
  expect(seen).toEqual([0, page, page, 2 * page, 3 * page]);
  cache.truncate(64);
  expect([cache.length, cache.bytes]).toEqual([64, page]);
  expect(() => cache.truncate(65)).toThrow(code("OUTRIDER_ARGUMENT"));
  cache.dispose();
  expect(() => cache.length).toThrow(code("OUTRIDER_DISPOSED"));
});

test("a cache takes one call at a time, and no two rows of a batch name it twice", async () => {
  const cache = runtime.newCache();
  const running = runtime.step({ ...rows(500), caches: [cache] });
  await expect(runtime.step({ ...rows(1), caches: [cache] })).rejects.toEqual(code("OUTRIDER_BUSY"));
  expect(() => cache.fork()).toThrow(code("OUTRIDER_BUSY"));
  await running;
  await expect(runtime.step({ ...rows(1), caches: [cache, cache] })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
});

test("an aborted step leaves the cache as it was", async () => {
  const cache = runtime.newCache();
  await runtime.step({ ...rows(70), caches: [cache] });
  const controller = new AbortController();
  const long = { ...rows(1900), caches: [cache] };
  const running = runtime.step(long, controller.signal);
  const reason = new Error("enough");
  setTimeout(() => controller.abort(reason), 3);
  await expect(running).rejects.toBe(reason);
  expect(cache.length).toBe(70);
  const before = await cache.save();
  await runtime.step({ ...rows(30), caches: [cache] });
  cache.truncate(70);
  expect(Buffer.compare(await cache.save(), before)).toBe(0);
});

test("snapshots of another model or format are refused and change nothing", async () => {
  const cache = runtime.newCache();
  await runtime.step({ ...rows(70), caches: [cache] });
  const image = await cache.save();
  const other = await openRuntime(defaultModel, { kv: "bf16" });
  const target = other.newCache();
  await other.step({ ...rows(5), caches: [target] });
  await expect(target.restore(image)).rejects.toEqual(code("OUTRIDER_SNAPSHOT"));
  expect(target.length).toBe(5);
  await other.dispose();
});
