// How fast a model runs on this machine: what `outrider bench` prints.

import { expected } from "../errors.ts";
import type { Runtime } from "../model/runtime.ts";
import { native, want } from "../native.ts";
import { opLevels } from "../ops/native-ops.ts";
import { checkOptions, checkSignal } from "./arguments.ts";
import { decode, emptyStats, makeSampler } from "./decode.ts";
import { resolveOptions } from "./options.ts";

/** Options of {@link Model.measure}. */
export interface MeasureOptions {
  /** Tokens of the prompt whose prefill is timed. @default 512, or what the context holds */
  promptTokens?: number;
  /** Tokens decoded after 32 tokens of prompt; rows of the cost curve go on from there. @default 64 */
  decodeTokens?: number;
  /** Row counts of the cost curve, each 1 to 256. @default [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] */
  rows?: readonly number[];
  /** Repetitions, of which the median counts. @default 5 */
  repetitions?: number;
  signal?: AbortSignal;
}

/** Result of {@link Model.measure}. Times are medians of wall time as the caller sees it. */
export interface Measurement {
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** Seconds of one call that verifies so many rows of a tree, and its cost in single-row calls. */
  costCurve: { rows: number; seconds: number; cost: number }[];
  /** Memory bandwidth measured beside, GB/s. */
  bandwidthGBps: number;
  /** Tokens/s if decoding took no longer than reading the weights once at that bandwidth, and how near it comes: 0 to 1. */
  boundTokensPerSecond: number;
  boundFraction: number;
  /** Microseconds of a decode step outside kernels: sampling, hand-over between threads, TypeScript. */
  overheadMicroseconds: number;
  /** CPU level whose kernel runs, for each op. */
  kernels: Record<string, string>;
}

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** Levels by op, as dispatched for the level of the model. */
function kernelsFor(runtime: Runtime): Record<string, string> {
  const { levels, level } = native.cpu();
  const upTo = levels.slice(0, levels.indexOf(runtime.options.level ?? level) + 1);
  const ops = ["rmsnorm", "rope", "gemm", "kv_write", "attention", "activation", "topk", "embedding"];
  return Object.fromEntries(
    ops.map((op) => {
      const own = opLevels(op);
      return [op, upTo.findLast((name) => own.includes(name)) ?? "ref"];
    }),
  );
}

/** Times prefill, decoding and calls of several rows. */
export async function measure(runtime: Runtime, options: MeasureOptions = {}): Promise<Measurement> {
  checkOptions(options, ["promptTokens", "decodeTokens", "rows", "repetitions", "signal"]);
  checkSignal(options.signal);
  const { repetitions = 5, rows = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32], decodeTokens = 64, signal } = options;
  const { vocab } = runtime.spec;
  const { contextLength } = runtime.options;
  const { promptTokens = Math.min(512, contextLength - 1) } = options;
  const positive = (name: string, value: number, most: number) => {
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw expected("OUTRIDER_ARGUMENT", name, `an integer from 1 to ${most}`, value);
  };
  positive("promptTokens", promptTokens, contextLength - 1);
  positive("decodeTokens", decodeTokens, Math.max(1, contextLength - 33));
  positive("repetitions", repetitions, 1000);
  for (const [i, count] of rows.entries()) positive(`rows[${i}]`, count, 256);

  const ids = (count: number) => Int32Array.from({ length: count }, (_, i) => (i * 7919 + 13) % vocab);
  const greedy = resolveOptions({ temperature: 0 }, {}, vocab);
  const sampler = () => makeSampler({ ...greedy, endIds: [] }, vocab, new Int32Array(), 0);
  const short = Math.min(32, contextLength - decodeTokens - 1);
  const times = { prefill: [] as number[], token: [] as number[], outside: [] as number[] };
  const curve = rows.map((count) => ({ rows: count, seconds: [] as number[] }));

  const step = async (cache: ReturnType<Runtime["newCache"]>, tokens: Int32Array, all: boolean) => {
    const wants = new Uint8Array(tokens.length).fill(all ? want.sample : 0);
    wants[tokens.length - 1] = want.sample;
    const tree = all ? { scratch: true, parents: tokens.map((_, i) => i - 1) } : {};
    const batch = { caches: [cache], samplers: [sampler()], tokens, sequence: new Int32Array(tokens.length), wants };
    const start = performance.now();
    const result = await runtime.step({ ...batch, ...tree }, signal);
    return { seconds: (performance.now() - start) / 1e3, result };
  };

  for (let round = -1; round < repetitions; round++) {
    const keep = (list: number[], value: number) => {
      if (round >= 0) list.push(value);
    };
    const cache = runtime.newCache();
    try {
      keep(times.prefill, (await step(cache, ids(promptTokens), false)).seconds);
      cache.truncate(0);
      const stats = emptyStats();
      let start = 0;
      const wish = { ...greedy, maxTokens: decodeTokens + 1, signal };
      for await (const _ of decode(runtime, cache, ids(short), 0, [], wish, stats)) start ||= performance.now();
      const seconds = (performance.now() - start) / 1e3;
      keep(times.token, seconds / decodeTokens);
      keep(times.outside, (seconds - stats.decodeKernelSeconds) / decodeTokens);
      for (const { rows: count, seconds: list } of curve) {
        if (cache.length + count > contextLength) continue;
        const calls = Math.max(1, Math.ceil(12 / count));
        let sum = 0;
        for (let i = 0; i < calls; i++) sum += (await step(cache, ids(count), true)).seconds;
        keep(list, sum / calls);
      }
    } finally {
      cache.dispose();
    }
  }
  const bandwidthGBps = (await native.probeBandwidth(runtime.options.threads).promise) ?? 0;
  const token = median(times.token);
  const one = median(curve.find((point) => point.rows === 1)?.seconds ?? [token]);
  const bound = (bandwidthGBps * 1e9) / runtime.weightBytes;
  return {
    prefillTokensPerSecond: promptTokens / median(times.prefill),
    decodeTokensPerSecond: 1 / token,
    costCurve: curve
      .filter(({ seconds }) => seconds.length > 0)
      .map(({ rows: count, seconds }) => ({ rows: count, seconds: median(seconds), cost: median(seconds) / one })),
    bandwidthGBps,
    boundTokensPerSecond: bound,
    boundFraction: 1 / token / bound,
    overheadMicroseconds: median(times.outside) * 1e6,
    kernels: kernelsFor(runtime),
  };
}
