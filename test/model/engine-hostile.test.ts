// What callers and the file system may do to the engine in the middle of its work.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { type NativeBatch, type NativeModel, type NativeSequence, native, want } from "../../lib/native.ts";
import { code } from "../support/errors.ts";
import { openRuntime } from "../support/runtime.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f32" });
});
afterAll(() => runtime.dispose());

const rows = (tokens: number[], wants = 0) => ({
  tokens: Int32Array.from(tokens),
  sequence: new Int32Array(tokens.length),
  wants: new Uint8Array(tokens.length).fill(wants),
});

async function parts() {
  const files = await openSource(tinyModel);
  const config = specFromConfig(files.config ?? {});
  return { spec: config.spec, ...mapWeights(config, files.tensors, files.kind, files.config) };
}

test("a tree cannot be committed once other tokens have been appended", async () => {
  const cache = runtime.newCache();
  await runtime.step({ ...rows([1, 2, 3]), caches: [cache] });
  await runtime.step({ ...rows([5, 6]), caches: [cache], parents: Int32Array.of(-1, 0), scratch: true });
  await runtime.step({ ...rows([7]), caches: [cache] });
  expect(() => cache.commit([0, 1])).toThrow(code("OUTRIDER_ARGUMENT"));
  expect(cache.length).toBe(4);
});

test("layers that write no key leave nothing of earlier tokens or trees in the cache", async () => {
  const skipAttention = Uint8Array.from(runtime.spec.layers, (_, l) => (l === 1 ? 1 : 0));
  const appended = async (dirty: boolean) => {
    const cache = runtime.newCache();
    await runtime.step({ ...rows([1, 2, 3]), caches: [cache] });
    if (dirty) {
      await runtime.step({ ...rows([100, 101, 102, 103]), caches: [cache] });
      cache.truncate(3);
    }
    await runtime.step({ ...rows([7, 8, 9]), caches: [cache], skipAttention });
    return { ...(await runtime.step({ ...rows([11], want.logits), caches: [cache] })), image: await cache.save() };
  };
  const tree = async (dirty: boolean) => {
    const cache = runtime.newCache();
    await runtime.step({ ...rows([1, 2, 3]), caches: [cache] });
    const chain = { caches: [cache], parents: Int32Array.of(-1, 0), scratch: true };
    if (dirty) await runtime.step({ ...rows([200, 201]), ...chain });
    await runtime.step({ ...rows([7, 8]), ...chain, skipAttention });
    cache.commit([0, 1]);
    return { ...(await runtime.step({ ...rows([11], want.logits), caches: [cache] })), image: await cache.save() };
  };
  for (const run of [appended, tree]) {
    const [clean, dirty] = [await run(false), await run(true)];
    expect(dirty.logits).toEqual(clean.logits);
    expect(dirty.image).toEqual(clean.image);
  }
});

test("batches whose members run JavaScript", async () => {
  const { spec, weights, files } = await parts();
  const options = { spec, weights, files, key: "getters", threads: 1 };
  const model = (await native.loadModel(options).promise) as NativeModel;
  const sampler = greedySampler(spec.vocab);
  const batch = (sequence: NativeSequence, count: number): NativeBatch => ({
    ...rows(new Array(count).fill(1), want.sample),
    sequences: [sequence],
    samplers: [sampler],
    rounded: false,
    threads: 1,
  });
  const meddling = (count: number, meddle: () => void) =>
    Object.defineProperty(batch(model.sequence("f32"), count), "topK", {
      get: () => {
        meddle();
        return 1;
      },
    });

  let other: { promise: Promise<unknown> } | undefined;
  const taken = meddling(300, () => {
    other = model.run(batch(model.sequence("f32"), 1500)); // long enough to be on the engine still
  });
  expect(() => model.run(taken)).toThrow(code("OUTRIDER_BUSY"));
  await other?.promise;
  const last = meddling(1, () => model.dispose());
  expect((await model.run(last).promise)?.sampled.length).toBe(1);
  expect(() => model.sequence("f32")).toThrow(code("OUTRIDER_DISPOSED"));
});

test("methods of one kind of object do not read another", () => {
  const sequence = runtime.newCache().native;
  const sampler = greedySampler(runtime.spec.vocab);
  for (const name of ["length", "bytes", "busy"] as const) {
    for (const self of [sampler, {}]) {
      expect(() => Reflect.apply(sequence[name], self, [])).toThrow(/Illegal invocation|Invalid argument/);
    }
  }
});

test.each([false, true])("a queued job that is aborted does not wait for its turn (beside: %s)", async (beside) => {
  const busy = [runtime.newCache(), runtime.newCache()];
  const long = runtime.step({ ...rows(new Array(2000).fill(5)), caches: [busy[0]], beside });
  const controller = new AbortController();
  const queued = runtime.step({ ...rows([1]), caches: [busy[1]], beside }, controller.signal);
  controller.abort(new Error("enough"));
  const first = await Promise.race([long.then(() => "long"), queued.catch((error: Error) => error.message)]);
  expect(first).toBe("enough");
  await long;
  expect(busy[1].length).toBe(0);
  await runtime.step({ ...rows([1]), caches: [busy[1]] });
});

test("a file that is cut short while it is read is an error and nothing else", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "outrider-cut-"));
  try {
    const { spec, weights, files } = await parts();
    const vocab = 60_000;
    const byteLength = vocab * spec.hidden * 4;
    const seen = new Set<string>();
    for (let i = 0; i < 12; i++) {
      const file = path.join(folder, `${i}`);
      const descriptor = openSync(file, "w");
      ftruncateSync(descriptor, byteLength);
      closeSync(descriptor);
      const job = native.loadModel({
        spec: { ...spec, vocab },
        weights: {
          ...weights,
          head: undefined,
          embedding: {
            ...{ format: "f32", rows: vocab, cols: spec.hidden },
            data: { file: files.length, offset: 0, byteLength },
          },
        },
        files: [...files, file],
        key: `cut ${i}`,
        threads: 1,
      });
      const until = performance.now() + i;
      while (performance.now() < until) {
        // The event loop stands still, the loading thread reads.
      }
      truncateSync(file, 0);
      seen.add(
        await job.promise.then(
          (model) => {
            model?.dispose();
            return "loaded";
          },
          (error) => error.code,
        ),
      );
    }
    expect([...seen].every((what) => what === "OUTRIDER_IO" || what === "OUTRIDER_FORMAT" || what === "loaded")).toBe(
      true,
    );
    expect(seen).toContain("OUTRIDER_IO");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a batch has tokens or embeddings, and not both", async () => {
  const embeddings = new Float32Array(4 * runtime.spec.hidden);
  const tree = { parents: Int32Array.of(-1, 0, 1, 2), scratch: true };
  const shape = { sequence: new Int32Array(4), wants: new Uint8Array(4) };
  for (const tokens of [[1], [1, 2, 3, 4]]) {
    const both = { ...shape, ...tree, embeddings, tokens: Int32Array.from(tokens), caches: [runtime.newCache()] };
    await expect(runtime.step(both)).rejects.toEqual(code("OUTRIDER_ARGUMENT", /received more than one of them/));
  }
  await runtime.step({ ...shape, ...tree, embeddings, caches: [runtime.newCache()] });
});
