// Batches that draft by themselves: what they say is what is said without, and what they draft is what came after the longest repetition.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { type NativeBatchResult, type NativeSampler, want } from "../../lib/native.ts";
import { code } from "../support/errors.ts";
import { openRuntime } from "../support/runtime.ts";
import { greedySampler as sampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f16" });
});
afterAll(() => runtime.dispose());

type Sampling = Parameters<typeof sampler>[1];
const prompt = Int32Array.from({ length: 40 }, (_, i) => i % 17);

/** A text under way: its cache, its sampler, and all tokens so far, the last of which the cache does not hold yet. */
interface Text {
  cache: KvCache;
  own: NativeSampler;
  tokens: number[];
}

async function begin(options: Sampling): Promise<Text> {
  const [cache, own] = [runtime.newCache(), sampler(runtime.spec.vocab, options)];
  const wants = new Uint8Array(prompt.length);
  wants[prompt.length - 1] = want.sample;
  const rows = { tokens: prompt, sequence: new Int32Array(prompt.length), wants };
  const { sampled } = await runtime.step({ ...rows, caches: [cache], samplers: [own] });
  return { cache, own, tokens: [...prompt, ...sampled] };
}

interface Options {
  repeat?: number;
  mostTokens?: number;
  mostSeconds?: number;
  ends?: Int32Array;
  wants?: number;
}

const copying = (
  { cache, own, tokens }: Text,
  copies: number[],
  { repeat = 8, mostTokens = 4096, mostSeconds = 1e3, ends, wants = want.sample }: Options = {},
) => ({
  ...{ tokens: Int32Array.from(tokens.slice(-1)), sequence: new Int32Array(1), parents: Int32Array.of(-1) },
  ...{ wants: Uint8Array.of(wants), topK: 2, scratch: true, verify: true },
  ...{ repeat, mostTokens, mostSeconds, ends },
  ...{ copies: Int32Array.from(copies), caches: [cache], samplers: [own] },
});

async function step(text: Text, copies: number[], options: Options = {}, signal?: AbortSignal) {
  const result = await runtime.step(copying(text, copies, options), signal);
  text.tokens.push(...result.sampled);
  expect(text.cache.length).toBe(text.tokens.length - 1);
  return result;
}

async function plainly(options: Sampling, count: number) {
  const text = await begin(options);
  const rows = { tokens: Int32Array.from(text.tokens.slice(-1)), sequence: new Int32Array(1) };
  const drawn = { wants: Uint8Array.of(want.sample | want.topk), topK: 2, repeat: count };
  const result = await runtime.step({ ...rows, ...drawn, caches: [text.cache], samplers: [text.own] });
  text.tokens.push(...result.sampled);
  return { ...text, logprobs: [...(result.sampledLogprob ?? [])] };
}

/** The steps of a result, with the tokens that each proposed. */
function stepsOf({ steps = new Float64Array(), proposed = new Int32Array() }: NativeBatchResult) {
  let from = 0;
  let quiet = false;
  return Array.from({ length: steps.length / 5 }, (_, i) => {
    const [drawn, known, drafted, matched, seconds] = steps.subarray(5 * i, 5 * i + 5);
    from += known;
    expect(seconds).toBeGreaterThan(0);
    if (known === 0 && drawn > 0) expect(quiet).toBe(false); // steps in a row that propose nothing are one
    quiet = known === 0;
    const found = { drawn, drafted, matched, proposed: [...proposed.subarray(from - known, from)] };
    return known > 0 ? [found] : Array<typeof found>(drawn).fill({ ...found, drawn: 1 });
  }).flat();
}

/** By definition: the first place where most of the last tokens occurred before, up to 64. */
function longestRepetition(text: readonly number[]) {
  let best = { next: -1, matched: 0 };
  for (let next = 1; next < text.length; next++) {
    let matched = 0;
    while (matched < 64 && matched < next && text[next - 1 - matched] === text[text.length - 1 - matched]) matched++;
    if (matched > best.matched) best = { next, matched };
  }
  return best;
}

/** What a text drafts by a table, told step by step. */
class Copies {
  #source: { next: number; changed: number } | undefined;
  readonly #table: readonly number[];

  constructor(table: readonly number[]) {
    this.#table = table;
  }

  propose(text: readonly number[], room: number) {
    const of = (matched: number) => this.#table[Math.min(matched, this.#table.length - 1)];
    let { next, matched } = longestRepetition(text);
    if (matched > 0 && of(matched) >= 0) this.#source = { next, changed: 0 };
    else [next, matched] = [this.#source?.next ?? -1, 0];
    const length = of(matched);
    if (next < 0 || length < 0 || (matched === 0 && next >= text.length)) return { matched, drafted: 0, proposed: [] };
    const period = text.length - next;
    const drafted = Math.min(length, room, matched === 0 ? period : length);
    const known = Math.min(Math.max(1, drafted), room);
    return { matched, drafted, proposed: Array.from({ length: known }, (_, i) => text[next + (i % period)]) };
  }

  observe(before: readonly number[], drawn: readonly number[]) {
    const text = [...before];
    for (const token of drawn) {
      if (!this.#source) return;
      const { next, changed } = this.#source;
      const differs = text[next] !== token ? changed + 1 : 0;
      text.push(token);
      this.#source = differs > 3 ? undefined : { next: next + 1, changed: differs };
    }
  }
}

const tables: [string, number[]][] = [
  ["nothing", [-1]],
  ["notes alone", [0]],
  ["all alike", [3]],
  ["more behind longer runs, and behind changes", [2, -1, 1, 2, 4, 8, 16]],
  ["from four tokens on", [0, -1, -1, -1, 255]],
  ["every length", Array.from({ length: 65 }, (_, i) => i % 7)],
];

describe.each<[string, Sampling]>([
  ["greedy", {}],
  ["at temperature 0.6", { temperature: 0.6, seed: 5n }],
  ["with penalties and a window", { temperature: 0.8, repetitionPenalty: 1.1, penaltyWindow: 9, seed: 3n }],
])("a batch that copies, %s", (_, options) => {
  test.each(tables)("%s: draws what is drawn without, and drafts as defined", async (_, table) => {
    const count = 150;
    const plain = await plainly(options, count);
    const text = await begin(options);
    const copies = new Copies(table);
    let drafted = 0;
    for (let call = 0; text.tokens.length < plain.tokens.length; call++) {
      const before = [...text.tokens];
      const [repeat, mostTokens] = [1 + (call % 9), plain.tokens.length - text.tokens.length];
      const result = await step(text, table, { repeat, mostTokens });
      const steps = stepsOf(result);
      expect(steps.length).toBeLessThanOrEqual(repeat);
      if (steps.length < repeat) expect(result.sampled.length).toBe(mostTokens);
      let at = 0;
      for (const { drawn, ...found } of steps) {
        expect(found).toEqual(copies.propose(before, mostTokens - at - 1));
        const tokens = [...result.sampled.subarray(at, at + drawn)];
        const right = found.proposed.slice(0, found.drafted).findIndex((token, i) => token !== tokens[i]);
        expect(drawn).toBe(1 + (right < 0 ? found.drafted : right));
        copies.observe(before, tokens);
        before.push(...tokens);
        at += drawn;
        drafted += found.drafted;
      }
      expect(at).toBe(result.sampled.length);
    }
    expect(text.tokens).toEqual(plain.tokens);
    expect(await text.cache.save()).toEqual(await plain.cache.save());
    if (Math.max(...table) > 0 && table[2] !== -1) expect(drafted).toBeGreaterThan(0);
  });
});

test("copies of a text that repeats itself are taken, many tokens a step", async () => {
  const plain = await plainly({}, 300); // greedy: it soon says the same again
  const text = await begin({});
  const taken: number[] = [];
  while (text.tokens.length < plain.tokens.length)
    for (const { drawn } of stepsOf(
      await step(text, [0, 0, 8], { mostTokens: plain.tokens.length - text.tokens.length }),
    ))
      taken.push(drawn);
  expect(text.tokens).toEqual(plain.tokens);
  expect(Math.max(...taken)).toBe(9);
  expect(taken.length).toBeLessThan(200);
});

test("log-probabilities are those of plain decoding", async () => {
  const options = { temperature: 0.7, seed: 2n };
  const plain = await plainly(options, 80);
  const text = await begin(options);
  const { sampled, sampledLogprob, topkIds } = await step(text, [4], {
    ...{ repeat: 80, mostTokens: 80, wants: want.sample | want.topk },
  });
  expect([...sampled]).toEqual(plain.tokens.slice(prompt.length + 1));
  expect([...(sampledLogprob ?? [])]).toEqual(plain.logprobs);
  expect(topkIds?.length).toBe(160);
});

test("an end token ends the call, in the middle of a copy too", async () => {
  const plain = await plainly({}, 200);
  const drawn = plain.tokens.slice(prompt.length + 1);
  for (const at of [3, 50, 120, 121, 122, 123]) {
    const end = drawn[at];
    const text = await begin({});
    const { sampled } = await step(text, [6], { repeat: 4096, mostTokens: 200, ends: Int32Array.of(end) });
    expect([...sampled]).toEqual(drawn.slice(0, drawn.indexOf(end) + 1));
  }
});

test("the end of the context ends it, and a call after that is refused as any other", async () => {
  const { contextLength } = runtime.spec;
  const text = await begin({});
  const { sampled } = await step(text, [16], { repeat: 4096 });
  expect(text.tokens.length).toBe(contextLength + 1);
  expect(sampled.length).toBe(contextLength - prompt.length);
  await expect(runtime.step(copying(text, [16]))).rejects.toEqual(code("OUTRIDER_CONTEXT"));
});

test("a call takes no other step when its time is over", async () => {
  const text = await begin({});
  expect((await step(text, [0], { repeat: 4096, mostSeconds: 1e-9 })).sampled.length).toBe(1);
  const { sampled } = await step(text, [3], { repeat: 4096, mostSeconds: 0.01 });
  expect(sampled.length).toBeGreaterThan(0);
  expect(text.tokens.length).toBeLessThan(runtime.spec.contextLength);
});

test("tokens of other calls count for the source too", async () => {
  const table = [3, -1, 1, 3];
  const options = { temperature: 0.6, seed: 5n };
  const plain = await plainly(options, 120);
  const text = await begin(options);
  const copies = new Copies(table);
  let resumed = 0;
  for (let call = 0; text.tokens.length < plain.tokens.length; call++) {
    const before = [...text.tokens];
    if (call % 3 === 2) {
      const rows = { tokens: Int32Array.from(before.slice(-1)), sequence: new Int32Array(1) };
      const one = { ...rows, wants: Uint8Array.of(want.sample), caches: [text.cache], samplers: [text.own] };
      const { sampled } = await runtime.step(one);
      text.tokens.push(...sampled);
      copies.observe(before, [...sampled]);
      continue;
    }
    const mostTokens = plain.tokens.length - before.length;
    const result = await step(text, table, { repeat: 1, mostTokens });
    const [{ drawn: _, ...found }] = stepsOf(result);
    expect(found).toEqual(copies.propose(before, mostTokens - 1));
    if (found.matched === 0) resumed += found.drafted;
    copies.observe(before, [...result.sampled]);
  }
  expect(text.tokens).toEqual(plain.tokens);
  expect(resumed).toBeGreaterThan(0);
});

test("a history may hold what is no token of the model, which is not copied", async () => {
  const { vocab } = runtime.spec;
  for (const wrong of [vocab, 2_000_000_000, -5]) {
    const history = Int32Array.of(5, 6, wrong, 7, 9);
    const first = async (token: number) => {
      const text = { cache: runtime.newCache(), own: sampler(vocab, { history }), tokens: [token] };
      return stepsOf(await runtime.step(copying(text, [4], { repeat: 1 })))[0];
    };
    expect(await first(5)).toMatchObject({ drafted: 1, matched: 1, proposed: [6] });
    expect(await first(6)).toMatchObject({ drawn: 1, drafted: 0, proposed: [] });
  }
});

test("an abort leaves the text as it was", async () => {
  const options = { temperature: 0.6, seed: 5n };
  const plain = await plainly(options, 60);
  const text = await begin(options);
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const running = runtime.step(copying(text, [5], { repeat: 4096 }), controller.signal);
    setTimeout(() => controller.abort(), i % 10);
    await expect(running).rejects.toThrow();
    expect(text.cache.length).toBe(text.tokens.length - 1);
  }
  await step(text, [5], { repeat: 60, mostTokens: 60 });
  expect(text.tokens).toEqual(plain.tokens);
});

test("what cannot be copied for is refused, and nothing happens", async () => {
  const text = await begin({});
  const good = copying(text, [3]);
  const two = { tokens: Int32Array.of(1, 2), sequence: new Int32Array(2), wants: new Uint8Array(2).fill(want.sample) };
  const bad: [string, object][] = [
    ["two rows", { ...two, parents: Int32Array.of(-1, 0) }],
    ["no verification", { verify: false }],
    ["no tree", { scratch: false, verify: false, parents: undefined }],
    ["hidden states", { wants: Uint8Array.of(want.sample | want.hidden) }],
    ["best ids", { wants: Uint8Array.of(want.sample | want.best), bestK: 2 }],
    ["no token", { wants: Uint8Array.of(want.topk) }],
    ["a confidence", { leastConfidence: 0.5, wants: Uint8Array.of(want.sample | want.topk) }],
    ["no tokens", { mostTokens: 0 }],
    ["too many tokens", { mostTokens: 4097 }],
    ["no time", { mostSeconds: 0 }],
    ["no number of seconds", { mostSeconds: Number.NaN }],
    ["too many steps", { repeat: 4097 }],
    ["no steps", { repeat: 0 }],
    ["a length below", { copies: Int32Array.of(1, -2) }],
    ["a length above", { copies: Int32Array.of(256) }],
    ["too many lengths", { copies: new Int32Array(66) }],
    ["another type", { copies: [3] }],
    ["no sampler", { samplers: [undefined] }],
    ["a rule", { samplers: [sampler(runtime.spec.vocab, { accept: { rule: "typical", epsilon: 0.1, delta: 0.1 } })] }],
  ];
  for (const [what, change] of bad)
    await expect((async () => runtime.step({ ...good, ...change }))(), what).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  expect(text.cache.length).toBe(prompt.length);
  await step(text, [3]);
});
