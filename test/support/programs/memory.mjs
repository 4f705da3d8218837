// What outrider says it holds against what the kernel says the process holds: weights, their peak while loading, and a KV cache.
import { readFileSync } from "node:fs";
import { affineModel } from "../../../bench/shapes/llama.mjs";
import { openSource } from "../../../dist/load/source.js";
import { specFromConfig } from "../../../dist/model/config.js";
import { Runtime } from "../../../dist/model/runtime.js";
import { mapWeights } from "../../../dist/model/weights.js";
import { native } from "../../../dist/native.js";

/** Bytes of a line of /proc/self/status. */
const held = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
function check(what, actual, from, to) {
  console.log(`${what}: ${mib(actual)}, expected ${mib(from)} to ${mib(to)}`);
  if (!(actual >= from && actual <= to)) throw new Error(`${what}: ${actual} is not within ${from} and ${to}`);
}

const shape = { layers: 4, hidden: 1024, heads: 16, kvHeads: 8, ffn: 4096, vocab: 32_000, context: 4096 };
const files = await openSource(affineModel(shape, 8, 32));
const config = specFromConfig(files.config);
const mapped = mapWeights(config, files.tensors, files.kind, files.config);
globalThis.gc();
const before = held("RssAnon");
const peakBefore = held("VmHWM");
const resident = held("VmRSS");
const key = JSON.stringify([config.spec, mapped.weights]);
const loaded = await native.loadModel({ spec: config.spec, weights: mapped.weights, files: mapped.files, key, threads: 2 })
  .promise;
const { bytes } = loaded.info();
check("weights", held("RssAnon") - before, bytes * 0.99, bytes * 1.03 + 2 ** 20);
check("peak while loading", Math.max(held("VmHWM"), peakBefore) - resident, bytes * 0.99, bytes * 1.1);

const options = { threads: 2, rounded: true, kv: "f16", contextLength: shape.context };
const runtime = new Runtime(loaded, config.spec, options);
const cache = runtime.newCache();
const step = (count) =>
  runtime.step({
    caches: [cache],
    tokens: new Int32Array(count).fill(7),
    sequence: new Int32Array(count),
    wants: new Uint8Array(count),
  });
await step(300); // scratch and threads are there
const withScratch = held("RssAnon");
const cacheBefore = cache.bytes;
for (let i = 0; i < 12; i++) await step(300);
const grown = cache.bytes - cacheBefore;
check("KV cache", held("RssAnon") - withScratch, grown * 0.95, grown * 1.1 + 2 ** 20);
const perToken = shape.layers * 2 * shape.kvHeads * (shape.hidden / shape.heads) * 2;
check("KV bytes", cache.bytes, Math.ceil(3900 / 64) * 64 * perToken, Math.ceil(3900 / 64) * 64 * perToken);
cache.dispose();
await runtime.dispose();
globalThis.gc();
await new Promise((resolve) => setTimeout(resolve, 2500)); // scratch goes back after two seconds of rest
check("left after dispose", Math.max(0, held("RssAnon") - before), 0, 12 * 2 ** 20);
console.log("memory adds up");
