// The engine batch and the KV cache: what they refuse, and what they count.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import type { Runtime, StepBatch } from "../../lib/model/runtime.ts";
import { native, want } from "../../lib/native.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { code } from "../support/errors.ts";
import { openRuntime } from "../support/runtime.ts";
import { greedySampler as sampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f16" });
});
afterAll(() => runtime.dispose());

const rows = (count: number, wants = 0) => ({
  tokens: Int32Array.from({ length: count }, (_, i) => i),
  sequence: new Int32Array(count),
  wants: new Uint8Array(count).fill(wants),
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

test.each([
  ["engine", false],
  ["engine beside", true],
])("an aborted step of the %s leaves cache and sampler as they were, wherever the abort lands", async (_, beside) => {
  const { vocab } = runtime.spec;
  const reason = new Error("enough");
  const other = runtime.newCache();
  const cache = runtime.newCache();
  const own = sampler(vocab, { frequencyPenalty: 40 });
  const short = { ...rows(70, want.sample), caches: [cache], samplers: [own] };
  await runtime.step(short);
  const before = await cache.save();
  let aborted = 0;
  for (let i = 0; i < 60; i++) {
    // A second job makes the engine put the first one back in its queue after each chunk: an abort may land there.
    other.truncate(0);
    const rival = runtime.step({ ...rows(900), caches: [other], beside });
    const controller = new AbortController();
    const running = runtime.step({ ...rows(900), caches: [cache], samplers: [own], beside }, controller.signal);
    setTimeout(() => controller.abort(reason), i / 3);
    await running.then(
      () => cache.truncate(70),
      (error) => {
        expect(error).toBe(reason);
        aborted++;
      },
    );
    expect(cache.length).toBe(70);
    await rival;
    if (aborted === 0) break; // nothing to learn from a machine this fast
  }
  expect(aborted).toBeGreaterThan(0);
  expect(Buffer.compare(await cache.save(), before)).toBe(0);
});

test("an aborted step leaves the sampler's history as it was", async () => {
  const { vocab } = runtime.spec;
  const draw = async (abort: boolean) => {
    const cache = runtime.newCache();
    const own = sampler(vocab, { frequencyPenalty: 40, history: Int32Array.of(3) });
    if (abort) {
      const controller = new AbortController();
      const running = runtime.step({ ...rows(1900), caches: [cache], samplers: [own] }, controller.signal);
      const reason = new Error("enough");
      setTimeout(() => controller.abort(reason), 6); // some chunks in
      await expect(running).rejects.toBe(reason);
    }
    const { sampled } = await runtime.step({ ...rows(40, want.sample), caches: [cache], samplers: [own] });
    return sampled;
  };
  expect(await draw(true)).toEqual(await draw(false));
});

test("penalties see a row's own past, in one call or in many, appended or committed from a tree", async () => {
  const { vocab } = runtime.spec;
  const text = Int32Array.of(5, 273, 264, 5, 585, 273, 526, 16, 360, 579, 273, 5);
  const count = text.length;
  const options = {
    frequencyPenalty: 30,
    repetitionPenalty: 1.3,
    penaltyWindow: 7,
    history: Int32Array.of(16, 16, 360),
  };
  const batch = (tokens: Int32Array) => ({
    tokens,
    sequence: new Int32Array(tokens.length),
    wants: new Uint8Array(tokens.length).fill(want.sample),
  });
  const together = await runtime.step({
    ...batch(text),
    caches: [runtime.newCache()],
    samplers: [sampler(vocab, options)],
  });
  const oneByOne = { caches: [runtime.newCache()], samplers: [sampler(vocab, options)] };
  const single: number[] = [];
  for (const token of text)
    single.push(...(await runtime.step({ ...batch(Int32Array.of(token)), ...oneByOne })).sampled);
  expect(Array.from(together.sampled)).toEqual(single);

  // The first four appended, the others as a branch of a tree, each with a sibling that is left behind.
  const cache = runtime.newCache();
  const own = sampler(vocab, options);
  await runtime.step({ ...batch(text.slice(0, 4)), caches: [cache], samplers: [own] });
  const branch = Array.from({ length: count - 5 }, (_, i) => text[4 + i]);
  const tree = await runtime.step({
    ...batch(Int32Array.from(branch.flatMap((token) => [99, token]))),
    parents: Int32Array.from(branch.flatMap((_, i) => [2 * i - 1, 2 * i - 1])),
    scratch: true,
    caches: [cache],
    samplers: [own],
  });
  expect(branch.map((_, i) => tree.sampled[2 * i + 1])).toEqual(single.slice(4, count - 1));
  cache.commit(
    branch.map((_, i) => 2 * i + 1),
    own,
  );
  const last = await runtime.step({ ...batch(text.slice(count - 1)), caches: [cache], samplers: [own] });
  expect(Array.from(last.sampled)).toEqual(single.slice(count - 1));
});

test("a sampler draws for one sequence and one call at a time", async () => {
  const own = sampler(runtime.spec.vocab);
  const [one, two] = [runtime.newCache(), runtime.newCache()];
  const running = runtime.step({ ...rows(500), caches: [one], samplers: [own] });
  await expect(runtime.step({ ...rows(1), caches: [two], samplers: [own] })).rejects.toEqual(code("OUTRIDER_BUSY"));
  expect(() => two.commit([], own)).toThrow(code("OUTRIDER_BUSY"));
  await running;
  await expect(runtime.step({ ...rows(1), caches: [one, two], samplers: [own, own] })).rejects.toEqual(
    code("OUTRIDER_ARGUMENT"),
  );
});

test("objects that only look like ours are refused", async () => {
  const cache = runtime.newCache();
  const { native: sequence } = cache;
  const { spec } = runtime;
  const handle = nativeOps.packWeights("f32", 1, 1, new Float32Array(1), 1, "f32");
  const bytes = native.snapshotBytes(8);
  const Sequence = sequence.constructor as new (from: unknown) => unknown;
  for (const forged of [undefined, {}, handle, bytes, sequence]) {
    expect(() => new Sequence(forged)).toThrow(code("OUTRIDER_ARGUMENT"));
  }
  const posing = Object.setPrototypeOf({}, Object.getPrototypeOf(sequence));
  const batch = { ...rows(1), caches: [{ native: posing, checkRoom() {} } as unknown as KvCache] };
  await expect(runtime.step(batch)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  const draw = sampler(spec.vocab);
  for (const forged of [{}, Object.setPrototypeOf({}, Object.getPrototypeOf(draw)), sequence]) {
    const samplers = [forged as never];
    await expect(runtime.step({ ...rows(1), caches: [cache], samplers })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  }
  for (const forged of [undefined, {}, handle, sequence]) {
    expect(() => sequence.restore(1n, forged as never, 8)).toThrow(code("OUTRIDER_ARGUMENT"));
    expect(() => native.writeSnapshotBytes(forged as never, 0, new Uint8Array(1))).toThrow(code("OUTRIDER_ARGUMENT"));
  }
  for (const [offset, length] of [
    [8, 1],
    [0, 9],
    [-1, 1],
    [2 ** 60, 1],
    [7, 2],
  ]) {
    expect(() => native.writeSnapshotBytes(bytes, offset, new Uint8Array(length))).toThrow(code("OUTRIDER_ARGUMENT"));
  }
});

test("results of any size belong to the caller", async () => {
  const { vocab, hidden } = runtime.spec;
  const step = (count: number) =>
    runtime.step({ ...rows(count, want.logits + want.hidden + want.topk), topK: 2, caches: [runtime.newCache()] });
  const kept = await step(300);
  expect([kept.logits?.length, kept.hidden?.length, kept.topkIds?.length]).toEqual([300 * vocab, 300 * hidden, 600]);
  const again = kept.logits?.slice();
  for (let i = 0; i < 5; i++) await step(300);
  expect(kept.logits?.every((value, i) => value === again?.[i])).toBe(true);
});

test("results that no memory holds are refused before anything is computed", async () => {
  const cache = runtime.newCache();
  const count = 1024;
  const many = { ...rows(count, want.logits), tokens: new Int32Array(count), caches: [cache] };
  // Far more tokens than the context holds: refused, and the cache is as it was.
  const long = { ...rows(60_000, want.logits), tokens: new Int32Array(60_000), caches: [cache] };
  await expect(runtime.step(long)).rejects.toEqual(code("OUTRIDER_CONTEXT"));
  expect(cache.length).toBe(0);
  expect((await runtime.step(many)).logits?.length).toBe(count * runtime.spec.vocab);
});

test("snapshots of another model or format are refused and change nothing", async () => {
  const cache = runtime.newCache();
  await runtime.step({ ...rows(70), caches: [cache] });
  const image = await cache.save();
  const other = await openRuntime(tinyModel, { kv: "bf16" });
  const target = other.newCache();
  await other.step({ ...rows(5), caches: [target] });
  await expect(target.restore(image)).rejects.toEqual(code("OUTRIDER_SNAPSHOT"));
  expect(target.length).toBe(5);
  await other.dispose();
});

test("a batch that repeats draws what single calls draw, until an end token, and rolls back as one", async () => {
  const { vocab } = runtime.spec;
  const options = { temperature: 1, repetitionPenalty: 1.3, seed: 5n };
  const wants = want.sample | want.topk;
  const single = runtime.newCache();
  const one = sampler(vocab, options);
  const drawn = { tokens: [] as number[], top: [] as number[], logprobs: [] as number[] };
  let batch: StepBatch = { ...rows(300, 0), caches: [single], samplers: [one], topK: 2 };
  batch.wants[299] = wants;
  for (let i = 0; i < 12; i++) {
    const result = await runtime.step(batch);
    drawn.tokens.push(...result.sampled);
    drawn.top.push(...(result.topkIds ?? []));
    drawn.logprobs.push(...(result.sampledLogprob ?? []));
    batch = {
      ...{ tokens: result.sampled, sequence: new Int32Array(1), wants: Uint8Array.of(wants) },
      ...{ caches: [single], samplers: [one], topK: 2 },
    };
  }
  const first = { ...rows(300, 0), topK: 2, repeat: 12 };
  first.wants[299] = wants;
  const many = runtime.newCache();
  const result = await runtime.step({ ...first, caches: [many], samplers: [sampler(vocab, options)] });
  expect([...result.sampled]).toEqual(drawn.tokens);
  expect([...(result.topkIds ?? [])]).toEqual(drawn.top);
  expect([...(result.sampledLogprob ?? [])]).toEqual(drawn.logprobs);
  expect(many.length).toBe(311);
  expect(await many.save()).toEqual(await single.save());

  const end = drawn.tokens[5];
  const until = drawn.tokens.indexOf(end) + 1;
  const short = await runtime.step({
    ...{ ...first, ends: Int32Array.of(end) },
    ...{ caches: [runtime.newCache()], samplers: [sampler(vocab, options)] },
  });
  expect([...short.sampled]).toEqual(drawn.tokens.slice(0, until));

  const aborted = runtime.newCache();
  const controller = new AbortController();
  const mine = sampler(vocab, options);
  const running = runtime.step({ ...first, repeat: 1000, caches: [aborted], samplers: [mine] }, controller.signal);
  setTimeout(() => controller.abort(), 30);
  await expect(running).rejects.toThrow();
  expect(aborted.length).toBe(0);
  const again = await runtime.step({ ...first, caches: [aborted], samplers: [mine] });
  expect([...again.sampled]).toEqual(drawn.tokens);

  for (const bad of [
    { ...first, wants: new Uint8Array(300).fill(want.sample) },
    { ...first, scratch: true, parents: Int32Array.from({ length: 300 }, (_, i) => i - 1) },
    { ...first, repeat: 5000 },
    { ...first, layerEnd: 2 },
  ]) {
    await expect(
      runtime.step({ ...bad, caches: [runtime.newCache()], samplers: [sampler(vocab, options)] }),
    ).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  }
});
