// Walks that a rule may have accept what was not drawn: row by row what the pure functions of lib/verify say in float64.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Runtime } from "../../lib/model/runtime.ts";
import { type NativeAccept, type NativeSamplerOptions, want } from "../../lib/native.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { inputAt, nativeSampling, type Sampling, saying } from "../support/approximate.ts";
import { code } from "../support/errors.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
import { adjusted, draw, survivors } from "../support/sampler.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f16", rounded: true });
});
afterAll(() => runtime.dispose());

const rowsOf = (tokens: ArrayLike<number>, wanted: number) => ({
  tokens: Int32Array.from(tokens),
  sequence: new Int32Array(tokens.length),
  wants: new Uint8Array(tokens.length).fill(wanted),
});

/** Logits of every row of a tree behind the tokens of a cache. */
async function logitsOf(cache: ReturnType<Runtime["newCache"]>, { token, parent }: TokenTree) {
  const { vocab } = runtime.spec;
  const batch = { ...rowsOf(token, want.logits), parents: parent, scratch: true, caches: [cache] };
  const { logits = new Float32Array() } = await runtime.step(batch);
  return Array.from(token, (_, row) => logits.slice(row * vocab, (row + 1) * vocab));
}

/** A law's entropy, as the paper's code has it. */
const entropyOf = (mass: readonly number[]) => mass.reduce((sum, p) => sum - p * Math.log(p + 1e-5), 0);

/** A tree of three levels: children are among what the model finds likely, and some are not. */
async function likelyTree(cache: ReturnType<Runtime["newCache"]>, root: number, next: () => number) {
  const token = [root];
  const parent = [-1];
  for (let level = 0, from = 0; level < 3; level++) {
    const rows = await logitsOf(cache, new TokenTree({ token, parent }));
    const end = token.length;
    for (; from < end; from++) {
      const ranked = Array.from(rows[from].keys()).sort((a, b) => rows[from][b] - rows[from][a]);
      const children = new Set(Array.from({ length: 3 }, () => ranked[Math.floor(next() ** 2 * 16)]));
      children.add(ranked[Math.floor(next() * ranked.length)]);
      for (const child of level === 2 ? [...children].slice(0, 2) : children) {
        token.push(child);
        parent.push(from);
      }
    }
  }
  return new TokenTree({ token, parent });
}

const everyThird = Array.from({ length: 600 }, (_, i) => 3 * i);
const ways: [string, Sampling][] = [
  ["greedy", {}],
  [
    "greedy with penalties and a window",
    { repetitionPenalty: 1.3, frequencyPenalty: 0.2, presencePenalty: 0.1, penaltyWindow: 6 },
  ],
  ["temperature 0.9", { temperature: 0.9 }],
  ["temperature 1.5, top-k", { temperature: 1.5, topK: 8 }],
  ["top-p, min-p", { temperature: 1.1, topP: 0.8, minP: 0.02 }],
  ["typical-p, which may leave out the likeliest", { temperature: 1, typicalP: 0.5 }],
  ["top-k 1", { temperature: 1, topK: 1 }],
  ["penalties and bias", { temperature: 0.8, presencePenalty: 0.5, logitBias: new Map([[32, 2]]) }],
  ["suppressed tokens", { temperature: 1, suppressed: everyThird, suppressedEarly: [1, 4, 7, 10, 13], minPosition: 9 }],
  ["greedy, suppressed tokens", { suppressed: everyThird, suppressedEarly: [1, 4, 7, 10, 13], minPosition: 9 }],
];
const rules: NativeAccept[] = [
  { rule: "typical", epsilon: 0.09, delta: 0.3 },
  { rule: "typical", epsilon: 0.02, delta: 0.05 },
  { rule: "relaxed", top: 3, gap: 1 },
  { rule: "relaxed", top: 12, gap: 2.5 },
  { rule: "relaxed", top: 1e9, gap: 1e30 }, // whatever may be drawn
];
/** By rule, over all ways: tokens it accepted, and rows with children none of which it did. */
const counts = rules.map(() => ({ accepted: 0, refused: 0 }));

describe.each(ways)("%s", (_, sampling) => {
  test.each(rules)("$rule %o", { timeout: 60_000 }, async (accept) => {
    const next = uniform(rules.indexOf(accept) + 10 * ways.findIndex(([, other]) => other === sampling));
    const certain = sampling.topK === 1 || ((sampling.temperature ?? 0) === 0 && accept.rule === "typical");
    const count = counts[rules.indexOf(accept)];
    const cache = runtime.newCache();
    let compared = 0;
    for (let trial = 0; trial < 12; trial++) {
      const prompt = Int32Array.from({ length: 7 }, () => Math.floor(next() * 400));
      cache.truncate(0);
      await runtime.step({ ...rowsOf(prompt, 0), caches: [cache] });
      const tree = await likelyTree(cache, Math.floor(next() * 400), next);
      const logits = await logitsOf(cache, tree);
      const drawing = { ...sampling, seed: trial };
      const ends = new Set(trial % 3 === 2 ? [tree.token[1], tree.token[6]] : []);

      const said: number[] = [];
      const flags: number[] = [];
      const walk = [0];
      let near = false;
      for (let row = 0; row >= 0; ) {
        const text = [...prompt, ...walk.map((node) => tree.token[node])];
        const children = Array.from(tree.children(row), (node) => tree.token[node]);
        const input = inputAt(logits[row], drawing, text);
        const found = saying(accept, input, children, ends);
        near ||= found.near;
        said.push(found.token);
        flags.push(found.byRule ? 1 : 0);
        if (!found.byRule && !children.includes(found.token) && children.length > 0) count.refused += 1;
        row = ends.has(found.token) ? -1 : tree.child(row, found.token);
        if (row >= 0) walk.push(row);
      }
      if (near) continue;
      compared += 1;
      const byRule = flags.filter(Boolean).length;
      if (certain) expect(byRule).toBe(0);
      count.accepted += byRule;

      const samplers = [greedySampler(runtime.spec.vocab, { ...nativeSampling(drawing, prompt), accept })];
      const result = await runtime.step({
        ...rowsOf(tree.token, trial % 2 ? want.sample : want.sample | want.topk),
        ...{ parents: tree.parent, scratch: true, verify: true, caches: [cache], samplers, topK: 2 },
        ends: Int32Array.from(ends),
      });
      expect([...result.sampled]).toEqual(said);
      expect([...(result.byRule ?? [])]).toEqual(flags);
      expect([...(result.walk ?? [])]).toEqual(walk);
      expect(cache.length).toBe(prompt.length + walk.length);
      if (trial % 2 === 0) {
        const own = said.map((token, i) => {
          const row = logits[walk[i]];
          return row[token] - Math.log(row.reduce((sum, l) => sum + Math.exp(l), 0));
        });
        // Log-probabilities are of the tokens said, to f32 rounding of logits below 64.
        for (const [i, logprob] of own.entries())
          expect(Math.abs((result.sampledLogprob?.[i] ?? Number.NaN) - logprob)).toBeLessThanOrEqual(2 ** -16);
      }
    }
    expect(compared).toBeGreaterThanOrEqual(10);
    cache.dispose();
  });
});

test("every rule has accepted and refused often", () => {
  for (const { accepted, refused } of counts) {
    expect(accepted).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(10);
  }
});

describe("one row", () => {
  /** What a row says behind the prompt, with children in this order, and what it would draw. */
  async function row(accept: NativeAccept | undefined, children: number[], more: { ends?: number[] } = {}) {
    const cache = runtime.newCache();
    await runtime.step({ ...rowsOf([3, 141, 59], 0), caches: [cache] });
    const samplers = [greedySampler(runtime.spec.vocab, { accept })];
    const result = await runtime.step({
      ...rowsOf([26, ...children], want.sample),
      ...{ parents: Int32Array.of(-1, ...children.map(() => 0)), scratch: true, verify: true },
      ...{ caches: [cache], samplers, ends: Int32Array.from(more.ends ?? []) },
    });
    const [logits] = await logitsOf(runtime.newCache(), new TokenTree({ token: [26], parent: [-1] }));
    const { length } = cache;
    cache.dispose();
    return { result, length, logits };
  }
  const all: NativeAccept = { rule: "relaxed", top: 1e9, gap: 1e30 };
  let ranked: number[];
  beforeAll(async () => {
    const cache = runtime.newCache();
    await runtime.step({ ...rowsOf([3, 141, 59], 0), caches: [cache] });
    const [logits] = await logitsOf(cache, new TokenTree({ token: [26], parent: [-1] }));
    ranked = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
    cache.dispose();
  });

  test("of several acceptable children the likeliest, wherever it stands", async () => {
    for (const children of [ranked.slice(2, 6), ranked.slice(2, 6).reverse()]) {
      const { result } = await row(all, children);
      expect(result.sampled[0]).toBe(ranked[2]);
      expect(result.byRule?.[0]).toBe(1);
      expect(result.walk?.[1]).toBe(1 + children.indexOf(ranked[2]));
    }
  });

  test("a child that has the token drawn comes before one that a rule accepts", async () => {
    const { result } = await row(all, [ranked[1], ranked[0]]);
    expect(result.sampled[0]).toBe(ranked[0]);
    expect(result.byRule?.[0]).toBe(0);
  });

  test("without a rule there is no such column, and nothing but what is drawn", async () => {
    const { result } = await row(undefined, ranked.slice(1, 4));
    expect([...result.sampled]).toEqual([ranked[0]]);
    expect(result.byRule).toBeUndefined();
  });

  test("an end token that is accepted ends the walk as one that is drawn", async () => {
    const { result, length } = await row(all, [ranked[1], ranked[2]], { ends: [ranked[1]] });
    expect([...result.sampled]).toEqual([ranked[1]]);
    expect([...(result.byRule ?? [])]).toEqual([1]);
    expect(length).toBe(4);
  });

  test("an end token that is drawn stays, whatever a rule would accept", async () => {
    const { result, length } = await row(all, [ranked[1], ranked[2]], { ends: [ranked[0]] });
    expect([...result.sampled]).toEqual([ranked[0]]);
    expect([...(result.byRule ?? [])]).toEqual([0]);
    expect(length).toBe(4);
  });
});

describe("limits, from both sides", () => {
  test.each<[string, Sampling]>([
    ["temperature 0.9", { temperature: 0.9 }],
    ["penalties, temperature 1.3, top-k", { temperature: 1.3, topK: 12, presencePenalty: 0.5 }],
    ["greedy", {}],
  ])("%s", async (_, sampling) => {
    const cache = runtime.newCache();
    const accepts = async (accept: NativeAccept, prompt: Int32Array, child: number, seed: number) => {
      cache.truncate(prompt.length);
      const samplers = [
        greedySampler(runtime.spec.vocab, { ...nativeSampling({ ...sampling, seed }, prompt), accept }),
      ];
      const rows = { ...rowsOf([26, child], want.sample), parents: Int32Array.of(-1, 0), scratch: true, verify: true };
      const { byRule } = await runtime.step({ ...rows, caches: [cache], samplers });
      return byRule?.[0] === 1;
    };
    let limits = 0;
    for (let seed = 0; seed < 12; seed++) {
      const prompt = Int32Array.of(3 + seed, 141, 59 + 2 * seed);
      cache.truncate(0);
      await runtime.step({ ...rowsOf(prompt, 0), caches: [cache] });
      const [logits] = await logitsOf(cache, new TokenTree({ token: [26], parent: [-1] }));
      const input = inputAt(logits, { ...sampling, seed }, [...prompt, 26]);
      const kept = survivors(sampling.temperature ? input : { ...input, temperature: 1 });
      const raw = adjusted(input);
      const drawn = draw(input);
      for (const rank of [1, 2, 4]) {
        const { id, probability: p } = kept[rank];
        if (id === drawn) continue;
        const check = async (accept: NativeAccept, expected: boolean) =>
          expect(await accepts(accept, prompt, id, seed), JSON.stringify(accept)).toBe(expected);
        limits += 1;
        const gap = raw[kept[0].id] - raw[id];
        for (const [factor, inside] of [
          [1 - 1e-6, false],
          [1 + 1e-6, true],
        ] as const) {
          await check({ rule: "relaxed", top: 1000, gap: gap * factor }, inside);
          if (!sampling.temperature) continue;
          // The threshold is a little above the probability, or below it.
          const peak = Math.exp(-entropyOf(kept.map(({ probability }) => probability)));
          if (p < peak / 1.1) await check({ rule: "typical", epsilon: p / factor, delta: 1 }, inside);
          if (p < peak) await check({ rule: "typical", epsilon: 1, delta: p / peak / factor }, inside);
        }
        await check({ rule: "relaxed", top: rank, gap: 100 }, false);
        await check({ rule: "relaxed", top: rank + 1, gap: 100 }, true);
      }
    }
    expect(limits).toBeGreaterThan(20);
    cache.dispose();
  });
});

test("sequences of one call, each with its own rule or none", async () => {
  const prompt = Int32Array.of(3, 141, 59);
  const caches = [runtime.newCache(), runtime.newCache()];
  const accept: NativeAccept = { rule: "relaxed", top: 1e9, gap: 1e30 };
  const samplers = [greedySampler(runtime.spec.vocab), greedySampler(runtime.spec.vocab, { accept })];
  for (const cache of caches) await runtime.step({ ...rowsOf(prompt, 0), caches: [cache] });
  const [logits] = await logitsOf(caches[0], new TokenTree({ token: [26], parent: [-1] }));
  const [, second] = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
  const result = await runtime.step({
    ...rowsOf([26, second, 26, second], want.sample),
    ...{ sequence: Int32Array.of(0, 0, 1, 1), parents: Int32Array.of(-1, 0, -1, 2) },
    ...{ caches, samplers, scratch: true, verify: true },
  });
  expect([...(result.walked ?? [])]).toEqual([1, 2]);
  expect([...(result.byRule ?? [])]).toEqual([0, 1, 0]);
  for (const cache of caches) cache.dispose();
});

test.each<[string, unknown]>([
  ["rule", { rule: "loose" }],
  ["rule", { epsilon: 0.1, delta: 0.1 }],
  ["accept", "typical"],
  ["epsilon", { rule: "typical", delta: 0.3 }],
  ["epsilon", { rule: "typical", epsilon: 0, delta: 0.3 }],
  ["epsilon", { rule: "typical", epsilon: Number.NaN, delta: 0.3 }],
  ["delta", { rule: "typical", epsilon: 0.1, delta: 1.5 }],
  ["top", { rule: "relaxed", top: 0, gap: 1 }],
  ["top", { rule: "relaxed", top: 1.5, gap: 1 }],
  ["gap", { rule: "relaxed", top: 1, gap: -1 }],
  ["gap", { rule: "relaxed", top: 1, gap: Number.POSITIVE_INFINITY }],
  ["gap", { rule: "relaxed", top: 1, gap: Number.NaN }],
])("the sampler refuses by name: %s of %o", (name, accept) => {
  const options = { accept } as Partial<NativeSamplerOptions>;
  expect(() => greedySampler(16, options)).toThrow(code("OUTRIDER_ARGUMENT", new RegExp(`for ${name}$`)));
});
