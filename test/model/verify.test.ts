// Trees that are verified and committed in one step: what is said is what plain decoding says, whatever the tree.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Runtime, StepBatch } from "../../lib/model/runtime.ts";
import { type NativeBatchResult, type NativeSamplerOptions, want } from "../../lib/native.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { code } from "../support/errors.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f16", rounded: true });
});
afterAll(() => runtime.dispose());

const prompt = Int32Array.of(3, 141, 59, 26, 53, 58, 97, 93);
const rowsOf = (tokens: ArrayLike<number>, wanted: number) => ({
  tokens: Int32Array.from(tokens),
  sequence: new Int32Array(tokens.length),
  wants: new Uint8Array(tokens.length).fill(wanted),
});

/** A chain that is verified: every token the child of the one before; and one more row, a branch at the root, if there is a token for it. */
function chainRows(tokens: ArrayLike<number>, branch?: number) {
  const all = branch === undefined ? Array.from(tokens) : [...Array.from(tokens), branch];
  const parents = Int32Array.from(all, (_, i) => (i === tokens.length ? 0 : i - 1));
  return { ...rowsOf(all, want.sample), parents, scratch: true, verify: true };
}

/** Chains are evaluated where they stay, other trees in pages of their own. */
const places: [string, number | undefined][] = [
  ["a chain", undefined],
  ["a chain with a branch", 500],
];

/** A text by plain decoding: tokens with their log-probabilities and three best. */
async function plainText(options: Partial<NativeSamplerOptions>, length: number) {
  const cache = runtime.newCache();
  const samplers = [greedySampler(runtime.spec.vocab, options)];
  const said: number[] = [];
  const logprobs: number[] = [];
  const top: number[] = [];
  for (let tokens = prompt; said.length < length; tokens = Int32Array.of(said[said.length - 1])) {
    const batch = rowsOf(tokens, 0);
    batch.wants[tokens.length - 1] = want.sample | want.topk;
    const { sampled, sampledLogprob, topkIds } = await runtime.step({ ...batch, caches: [cache], samplers, topK: 3 });
    said.push(...sampled);
    logprobs.push(...(sampledLogprob ?? []));
    top.push(...(topkIds ?? []));
  }
  cache.dispose();
  return { said, logprobs, top };
}

/** A text by trees that `propose` makes for the tokens so far. */
async function treeText(
  options: Partial<NativeSamplerOptions>,
  length: number,
  propose: (said: number[]) => TokenTree,
  more: Partial<StepBatch> = {},
) {
  const cache = runtime.newCache();
  const samplers = [greedySampler(runtime.spec.vocab, options)];
  const batch = rowsOf(prompt, 0);
  batch.wants[prompt.length - 1] = want.sample | want.topk;
  const first = await runtime.step({ ...batch, caches: [cache], samplers, topK: 3 });
  const said = [...first.sampled];
  const logprobs = [...(first.sampledLogprob ?? [])];
  const top = [...(first.topkIds ?? [])];
  let steps = 0;
  while (said.length < length) {
    const tree = propose(said);
    const result = await runtime.step({
      ...rowsOf(tree.token, want.sample | want.topk),
      ...{ parents: tree.parent, scratch: true, verify: true, caches: [cache], samplers, topK: 3, ...more },
    });
    steps += 1;
    said.push(...result.sampled);
    logprobs.push(...(result.sampledLogprob ?? []));
    top.push(...(result.topkIds ?? []));
    expect(result.walked?.[0]).toBe(result.sampled.length);
    expect(cache.length).toBe(prompt.length + said.length - 1);
    expect(Array.from(result.walk ?? [], (row) => tree.token[row]).slice(1)).toEqual([...result.sampled.slice(0, -1)]);
  }
  cache.dispose();
  return { said: said.slice(0, length), logprobs: logprobs.slice(0, length), top: top.slice(0, 3 * length), steps };
}

const ways: [string, Partial<NativeSamplerOptions>][] = [
  ["greedy", {}],
  ["temperature 0.9", { temperature: 0.9, seed: 5n }],
  ["top-k, top-p, min-p", { temperature: 1.2, topK: 40, topP: 0.9, minP: 0.02, seed: 6n }],
  ["greedy with penalties", { repetitionPenalty: 1.3, frequencyPenalty: 0.2, penaltyWindow: 12 }],
  [
    "penalties and bias",
    { temperature: 0.8, presencePenalty: 0.5, biasIds: Int32Array.of(7), bias: Float32Array.of(2), seed: 8n },
  ],
  ["late end tokens", { temperature: 1, suppressedEarly: Int32Array.of(1, 2, 3), minPosition: 20, seed: 9n }],
];

describe.each(ways)("%s", (_, options) => {
  const length = 40;
  let plain: Awaited<ReturnType<typeof plainText>>;
  beforeAll(async () => {
    plain = await plainText(options, length + 8);
  });

  const same = (found: Awaited<ReturnType<typeof treeText>>) => {
    expect(found.said).toEqual(plain.said.slice(0, length));
    expect(found.logprobs).toEqual(plain.logprobs.slice(0, length)); // to the bit
    expect(found.top).toEqual(plain.top.slice(0, 3 * length));
  };

  test("the right chain is accepted whole", async () => {
    const found = await treeText(options, length, (said) => {
      const ahead = plain.said.slice(said.length, said.length + 4);
      return chainOf(said[said.length - 1], ahead);
    });
    same(found);
    expect(found.steps).toBe(Math.ceil((length - 1) / 5));
  });

  test("wrong chains change nothing", async () => {
    const found = await treeText(options, length, (said) =>
      chainOf(
        said[said.length - 1],
        plain.said.slice(said.length, said.length + 3).map((token) => (token + 1) % runtime.spec.vocab),
      ),
    );
    same(found);
    expect(found.steps).toBe(length - 1);
  });

  test("trees where the right path is hidden among wrong ones", async () => {
    const next = uniform(4);
    const found = await treeText(options, length, (said) => {
      const token = [said[said.length - 1]];
      const parent = [-1];
      let at = 0;
      for (const right of plain.said.slice(said.length, said.length + 5)) {
        const others = [1, 2, 3].map((d) => (right + d) % runtime.spec.vocab);
        const siblings = [right, ...others].sort(() => next() - 0.5);
        const first = token.length;
        token.push(...siblings);
        parent.push(...siblings.map(() => at));
        at = first + siblings.indexOf(next() < 0.8 ? right : others[0]);
      }
      return new TokenTree({ token, parent });
    });
    same(found);
    expect(found.steps).toBeLessThan(length - 1);
  });
});

function chainOf(root: number, tokens: number[]): TokenTree {
  return new TokenTree({ token: [root, ...tokens], parent: [root, ...tokens].map((_, i) => i - 1) });
}

/** One verified step after the prompt. */
async function stepAfterPrompt(
  rows: Partial<StepBatch> & { tokens: Int32Array },
  sequences = 1,
  options: Partial<NativeSamplerOptions> = {},
) {
  const { vocab } = runtime.spec;
  const caches = Array.from({ length: sequences }, () => runtime.newCache());
  const samplers = caches.map(() => greedySampler(vocab, options));
  for (const [i, cache] of caches.entries())
    await runtime.step({ ...rowsOf(prompt, 0), caches: [cache], samplers: [samplers[i]] });
  const batch = { ...rowsOf(rows.tokens, want.sample), caches, samplers, scratch: true, verify: true, ...rows };
  const result = await runtime.step(batch);
  return { caches, samplers, result };
}

test("several sequences in one call, each with its own tree", async () => {
  const { said } = await plainText({}, 6);
  // Sequence 0 is at the end of the prompt and is fed tokens that were not said; sequence 1 goes on with the text.
  const right = Int32Array.of(said[0], said[1], said[2]);
  const { result, caches } = await stepAfterPrompt(
    {
      tokens: Int32Array.of(5, 6, 7, ...right),
      sequence: Int32Array.of(0, 0, 0, 1, 1, 1),
      parents: Int32Array.of(-1, 0, 0, -1, 3, 4),
    },
    2,
  );
  expect(result.walked?.[1]).toBe(3);
  expect([...result.sampled.slice(-3)]).toEqual(said.slice(1, 4));
  expect(caches[1].length).toBe(prompt.length + 3);
  expect(caches[0].length).toBe(prompt.length + (result.walked?.[0] ?? 0));
});

test("an end token ends the walk and is the last one said", async () => {
  const { said } = await plainText({}, 5);
  const at = said.slice(0, 4).findIndex((token, i) => i >= 1 && said.indexOf(token) === i);
  const tree = { tokens: Int32Array.from(said.slice(0, 4)), parents: Int32Array.of(-1, 0, 1, 2) };
  const { result, caches } = await stepAfterPrompt({ ...tree, ends: Int32Array.of(said[at]) });
  expect([...result.sampled]).toEqual(said.slice(1, at + 1));
  expect(caches[0].length).toBe(prompt.length + at);
});

describe.each<[string, Partial<NativeSamplerOptions>, number]>([
  ["greedy", {}, want.sample],
  ["sampled", { temperature: 1, seed: 4n }, want.sample],
  ["with log-probabilities", {}, want.sample | want.topk],
])("%s", (_, options, wanted) => {
  test.each([3, 9, 40])("the best ids of each of %i rows, those off the walk too", async (count) => {
    const tokens = Int32Array.from({ length: count }, (_, i) => 4 + ((i * 7) % 90));
    const parents = Int32Array.from({ length: count }, (_, i) => (i === 0 ? -1 : (i - 1) >> 1));
    const tree = { tokens, parents, bestK: 8, topK: 3, wants: new Uint8Array(count).fill(wanted | want.best) };
    const { result, caches } = await stepAfterPrompt(tree, 1, options);
    expect(result.bestIds).toHaveLength(8 * count);
    for (const row of [0, 1, 2, count >> 1, count - 1]) {
      const path: number[] = [];
      for (let at = row; at >= 0; at = parents[at]) path.unshift(tokens[at]);
      caches[0].truncate(prompt.length);
      const batch = rowsOf(path, 0);
      batch.wants[path.length - 1] = want.topk;
      const { topkIds } = await runtime.step({ ...batch, caches: [caches[0]], topK: 8 });
      expect([...(result.bestIds ?? []).slice(8 * row, 8 * row + 8)]).toEqual([...(topkIds ?? [])]);
    }
  });
});

test.each(places)("trees in chunks, because another generation waits: %s", async (_, branch) => {
  const { said } = await plainText({}, 60);
  const tree = chainRows(said.slice(0, 56), branch);
  const busy = runtime.newCache();
  const others = Array.from({ length: 6 }, () => runtime.newCache());
  const load = others.map((cache) =>
    runtime.step({
      ...rowsOf(
        Int32Array.from({ length: 400 }, (_, i) => i),
        0,
      ),
      caches: [cache],
    }),
  );
  const { result, caches } = await stepAfterPrompt(tree);
  await Promise.all(load);
  expect([...result.sampled]).toEqual(said.slice(1, 57));
  expect(caches[0].length).toBe(prompt.length + 56);
  for (const cache of [busy, ...others]) cache.dispose();
});

test("sequences without rows, and rows in another order than their sequences", async () => {
  const { said } = await plainText({}, 4);
  const rows = {
    tokens: Int32Array.of(said[0], said[1], 7),
    sequence: Int32Array.of(2, 2, 0),
    parents: Int32Array.of(-1, 0, -1),
  };
  const { result, caches } = await stepAfterPrompt(rows, 3);
  expect([...(result.walked ?? [])]).toEqual([1, 0, 2]);
  expect([...(result.walk ?? [])]).toEqual([0, 1, 2]);
  expect([...result.sampled.slice(0, 2)]).toEqual(said.slice(1, 3));
  expect(caches.map((cache) => cache.length - prompt.length)).toEqual([1, 0, 2]);
});

test.each(places)(
  "an aborted step leaves cache and sampler as they were, wherever the abort lands: %s",
  async (_, branch) => {
    const chain = chainRows(
      Array.from({ length: 200 }, (_row, i) => i),
      branch,
    );
    const begin = async () => {
      const cache = runtime.newCache();
      const samplers = [greedySampler(runtime.spec.vocab, { repetitionPenalty: 1.5 })];
      await runtime.step({ ...rowsOf(prompt, 0), caches: [cache], samplers });
      const step = (signal?: AbortSignal): Promise<NativeBatchResult> =>
        runtime.step({ ...chain, caches: [cache], samplers }, signal);
      return { cache, step };
    };
    const expected = await (await begin()).step();
    let aborted = 0;
    for (let attempt = 0; attempt < 30; attempt++) {
      const { cache, step } = await begin();
      const controller = new AbortController();
      const running = step(controller.signal);
      const timer = setTimeout(() => controller.abort(), attempt / 3);
      const done = await running.then(
        () => true,
        () => false,
      );
      clearTimeout(timer);
      if (!done) {
        aborted += 1;
        expect(cache.length).toBe(prompt.length);
        expect((await step()).sampled).toEqual(expected.sampled);
      }
      cache.dispose();
    }
    expect(aborted).toBeGreaterThan(0);
  },
);

test("a fork shares nothing with rows of a chain that were not taken, in this page or the next", async () => {
  const { vocab } = runtime.spec;
  const text = Array.from({ length: 62 }, (_, i) => (i * 37) % vocab);
  const cache = runtime.newCache();
  const samplers = [greedySampler(vocab)];
  await runtime.step({ ...rowsOf(text, 0), caches: [cache], samplers });
  const wrong = chainRows([5, 6, 7, 8, 9, 10, 11, 12]);
  const { sampled } = await runtime.step({ ...wrong, caches: [cache], samplers });
  expect(sampled.length).toBeLessThan(3); // the text goes on in the page before the one that the chain reached
  const after = cache.length;
  const ends = [
    [21, 22, 23, 24, 25, 26],
    [31, 32, 33, 34, 35, 36],
  ];
  const caches = [cache, cache.fork()];
  const hidden = async (of: typeof cache, tokens: number[]) =>
    (await runtime.step({ ...rowsOf(tokens, want.hidden), caches: [of] })).hidden;
  for (const [i, tokens] of ends.entries()) await hidden(caches[i], tokens.slice(0, 5));
  for (const [i, tokens] of ends.entries()) {
    const found = await hidden(caches[i], tokens.slice(5));
    const alone = runtime.newCache();
    await hidden(alone, [...text, 5, ...Array.from(sampled.slice(0, -1)), ...tokens.slice(0, 5)]);
    expect(await hidden(alone, tokens.slice(5))).toEqual(found);
    alone.dispose();
  }
  expect(after).toBe(62 + sampled.length);
  for (const one of caches) one.dispose();
});

test.each<[string, Partial<StepBatch>]>([
  ["no tree", { scratch: false, parents: undefined }],
  ["a second root", { parents: Int32Array.of(-1, -1, 0) }],
  ["a root that is no root", { parents: Int32Array.of(0, 0, 0) }],
  ["a parent behind its child", { parents: Int32Array.of(-1, 2, 0) }],
  ["a row that wants no token", { wants: Uint8Array.of(want.sample, 0, want.sample) }],
  ["hidden states", { wants: new Uint8Array(3).fill(want.sample | want.hidden) }],
  ["a part of the layers", { layerEnd: 1 }],
  ["repetition", { repeat: 2 }],
  ["best ids without a number", { wants: new Uint8Array(3).fill(want.sample | want.best) }],
  ["too many best ids", { wants: new Uint8Array(3).fill(want.sample | want.best), bestK: 65 }],
])("refused: %s", async (_, wrong) => {
  const rows = { tokens: Int32Array.of(4, 5, 6), parents: Int32Array.of(-1, 0, 1), ...wrong };
  await expect(stepAfterPrompt(rows)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
});

test("rows of two sequences that are mixed are refused", async () => {
  const rows = {
    tokens: Int32Array.of(4, 5, 6),
    sequence: Int32Array.of(0, 1, 0),
    parents: Int32Array.of(-1, -1, 0),
  };
  await expect(stepAfterPrompt(rows, 2)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
});

test("a tree whose longest path does not fit the context is refused before anything is done", async () => {
  const short = await openRuntime(tinyModel, { contextLength: 12 });
  const cache = short.newCache();
  const samplers = [greedySampler(short.spec.vocab)];
  await short.step({ ...rowsOf(prompt, 0), caches: [cache], samplers });
  const chain = (n: number) => chainRows(Array.from({ length: n }, (_row, i) => i));
  const step = (n: number) => short.step({ ...chain(n), caches: [cache], samplers });
  await expect(step(5)).rejects.toEqual(code("OUTRIDER_CONTEXT"));
  expect(cache.length).toBe(prompt.length);
  await step(4);
  await short.dispose();
});
