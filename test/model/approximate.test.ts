// Texts that take drafted tokens by a rule: each token is what was drawn or what the rule accepts, junk never gets in, and nothing changes without drafts.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import { Drafting } from "../../lib/draft/drafting.ts";
import { ngram } from "../../lib/draft/ngram.ts";
import { recycle } from "../../lib/draft/recycle.ts";
import { type DecodedToken, decode, emptyStats } from "../../lib/generate/decode.ts";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { load, type Model } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { type NativeAccept, want } from "../../lib/native.ts";
import { chain } from "../../lib/tree/build.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { acceptable, inputAt, type Sampling } from "../support/approximate.ts";
import { contextOf, Eager } from "../support/eager.ts";
import { code } from "../support/errors.ts";
import { openRuntime } from "../support/runtime.ts";
import { draw } from "../support/sampler.ts";
import { tinyModel } from "../support/tiny.ts";

let runtime: Runtime;
let model: Model;
beforeAll(async () => {
  runtime = await openRuntime(tinyModel, { kv: "f16", rounded: true });
  model = await load(tinyModel);
});
afterAll(async () => {
  await runtime.dispose();
  await model.dispose();
});

const prompt = Int32Array.from({ length: 60 }, (_, i) => (i % 20) * 13 + 5);

/** What is drawn, and what drafting says of itself. @param most tokens that the reader takes */
async function run(
  options: GenerateOptions,
  drafters: readonly Drafter[],
  { endIds = [], most = 1e9, experience = new Eager() }: { endIds?: number[]; most?: number; experience?: Eager } = {},
) {
  const resolved = resolveOptions({ seed: 1, maxTokens: 60, ...options }, {}, runtime.spec.vocab);
  const cache = runtime.newCache();
  const drawn: DecodedToken[] = [];
  let drafting: Drafting | undefined;
  const start = (text: Int32Array) => {
    drafting = new Drafting(drafters, experience, text, contextOf(runtime.spec.vocab), { ...resolved, endIds });
    return drafting;
  };
  const draft = drafters.length > 0 ? start : undefined;
  for await (const token of decode(runtime, cache, prompt, 0, endIds, resolved, emptyStats(), draft)) {
    drawn.push(token);
    if (drawn.length === most) break;
  }
  cache.dispose();
  return { drawn, said: drawn.map(({ token }) => token), stats: drafting?.stats };
}

/** What the sampler sees before each token of a text. */
async function inputsOf(said: readonly number[], sampling: Sampling) {
  const cache = runtime.newCache();
  const text = [...prompt, ...said.slice(0, -1)];
  const wants = new Uint8Array(text.length).fill(want.logits, prompt.length - 1);
  const batch = { tokens: Int32Array.from(text), sequence: new Int32Array(text.length), wants };
  const { logits = new Float32Array() } = await runtime.step({ ...batch, caches: [cache] });
  cache.dispose();
  const { vocab } = runtime.spec;
  return said.map((_, i) =>
    inputAt(logits.slice(i * vocab, (i + 1) * vocab), sampling, text.slice(0, prompt.length + i)),
  );
}

/** Proposes trees that are made for the number of tokens that the text has. */
const planned = (treeAt: (said: number, root: number, depth: number) => TokenTree | undefined): Drafter => ({
  name: "planned",
  start(tokens) {
    let [said, root] = [0, tokens[tokens.length - 1]];
    return {
      propose: ({ depth }) => treeAt(said, root, depth),
      observe({ tokens: more }) {
        said += more.length;
        root = more[more.length - 1];
      },
    };
  },
});

const typical: NativeAccept = { rule: "typical", epsilon: 0.09, delta: 0.3 };
const relaxed: NativeAccept = { rule: "relaxed", top: 3, gap: 1 };
const anything: NativeAccept = { rule: "relaxed", top: 1e9, gap: 1e30 };
const ways: [string, Sampling, NativeAccept][] = [
  ["relaxed, greedy", {}, relaxed],
  ["relaxed, greedy with penalties", { repetitionPenalty: 1.2, frequencyPenalty: 0.1, penaltyWindow: 16 }, relaxed],
  ["relaxed, temperature 1", { temperature: 1, seed: 4 }, relaxed],
  ["typical, temperature 0.9", { temperature: 0.9, seed: 5 }, typical],
  ["typical, top-p and bias", { temperature: 1.1, topP: 0.9, logitBias: new Map([[32, 1]]), seed: 6 }, typical],
];

describe.each(ways)("%s", (_, sampling, approximate) => {
  test.each<[string, () => Drafter[]]>([
    ["copy", () => [copy({ minMatch: 1 })]],
    ["recycle", () => [recycle({ width: 4 })]],
    ["several", () => [copy({ minMatch: 1 }), recycle(), ngram({ corpus: prompt, explore: 1 })]],
  ])("every token is drawn or accepted, and those accepted are counted: %s", async (_, drafters) => {
    const { said, stats } = await run({ ...sampling, approximate }, drafters());
    let byRule = 0;
    for (const [i, input] of (await inputsOf(said, sampling)).entries()) {
      if (said[i] === draw(input)) continue;
      byRule += 1;
      const { tokens, near } = acceptable(approximate, input);
      expect([...tokens, ...near]).toContain(said[i]);
    }
    expect(stats?.approximate).toEqual({ rule: approximate.rule, tokens: byRule });
    expect(stats?.accepted).toBeGreaterThanOrEqual(byRule);
  });

  test("of the likeliest tokens that the rule accepts a text takes many", async () => {
    const plain = await run(sampling, []);
    const inputs = await inputsOf(plain.said, sampling);
    const other = (at: number) => acceptable(approximate, inputs[at]).tokens.find((id) => id !== plain.said[at]);
    // Right tokens up to the first place where another one is acceptable, and that one there.
    const at = inputs.findIndex((_, i) => i > 1 && other(i) !== undefined);
    expect(at).toBeGreaterThan(0);
    const drafter = planned((said, root) => {
      const tokens = [...plain.said.slice(said, at), other(at) as number];
      return said >= 1 && said <= at ? chain(root, tokens) : undefined;
    });
    const { said, stats } = await run({ ...sampling, approximate }, [drafter]);
    expect(said.slice(0, at + 1)).toEqual([...plain.said.slice(0, at), other(at)]);
    expect(stats?.approximate).toEqual({ rule: approximate.rule, tokens: 1 });
  });

  test("junk: the likeliest tokens that the rule refuses, everywhere, change nothing", async () => {
    const options = { ...sampling, logprobs: 2 };
    const plain = await run(options, []);
    const junk = (await inputsOf(plain.said, sampling)).map((input, i) => {
      const { tokens, near } = acceptable(approximate, input);
      const fine = new Set([...tokens, ...near, plain.said[i]]);
      const { logits } = input;
      const ranked = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
      return ranked.filter((id) => !fine.has(id)).slice(0, 3);
    });
    const drafter = planned((said, root, depth) => {
      const token = [root];
      const parent = [-1];
      let above = 0;
      for (let i = said; said > 0 && i < Math.min(said + depth, said + 3, plain.said.length); i++) {
        const last = i === said + 2;
        const next = last ? junk[i] : [...junk[i], plain.said[i]];
        token.push(...next);
        parent.push(...next.map(() => above));
        above = token.length - 1;
      }
      return token.length > 1 ? new TokenTree({ token, parent }) : undefined;
    });
    const { drawn, stats } = await run({ ...options, approximate }, [drafter]);
    expect(drawn).toEqual(plain.drawn); // log-probabilities to the bit
    expect(stats?.approximate).toEqual({ rule: approximate.rule, tokens: 0 });
    expect(stats?.drafted).toBeGreaterThan(100);
  });

  test("without drafts the text is exact", async () => {
    const exact = await run({ ...sampling, logprobs: 1 }, []);
    expect((await run({ ...sampling, logprobs: 1, approximate }, [])).drawn).toEqual(exact.drawn);
    const silent = planned(() => undefined);
    expect((await run({ ...sampling, logprobs: 1, approximate }, [silent])).drawn).toEqual(exact.drawn);
  });
});

describe("rules that accept what is drawn alone", () => {
  test.each<[string, GenerateOptions]>([
    ["typical at temperature 0", { approximate: true }],
    ["relaxed with one token", { approximate: { rule: "relaxed", top: 1 } }],
    ["relaxed where top-k leaves one", { temperature: 1, topK: 1, approximate: { rule: "relaxed" } }],
  ])("%s", async (_, options) => {
    const exact = await run({ ...options, approximate: false, logprobs: 1 }, []);
    const found = await run({ ...options, logprobs: 1 }, [copy({ minMatch: 1 }), recycle()]);
    expect(found.drawn).toEqual(exact.drawn);
    expect(found.stats?.approximate?.tokens).toBe(0);
    expect(found.stats?.accepted).toBeGreaterThan(0);
  });
});

/** Proposes the same chain again and again. */
const stubborn = (tokens: number[]): Drafter => planned((_, root, depth) => chain(root, tokens.slice(0, depth)));

describe("ends", () => {
  test("forbidden tokens are never taken, not even by a rule that takes anything", async () => {
    const options = { logitBias: { 7: Number.NEGATIVE_INFINITY }, minTokens: 10, approximate: anything };
    const { said } = await run(options, [stubborn([7])], { endIds: [9] });
    expect(said).not.toContain(7);
    const ended = await run(options, [stubborn([9, 8, 8])], { endIds: [9] });
    expect(ended.said.indexOf(9)).toBe(10); // as soon as it is allowed
    expect(ended.said).toHaveLength(11);
    expect(ended.drawn[10].ends).toBe(true);
    expect((await run({ ...options, ignoreEos: true }, [stubborn([9])], { endIds: [9] })).said).not.toContain(9);
  });

  test("tokens behind the last one that was read are not counted", async () => {
    const drafter = () => [stubborn([40, 41, 42, 43])];
    const whole = await run({ approximate: anything }, drafter());
    expect(whole.said.slice(1, 11)).toEqual([40, 41, 42, 43, whole.said[5], 40, 41, 42, 43, whole.said[10]]);
    for (const most of [3, 5, 6, 8, 9]) {
      const { said, stats } = await run({ approximate: anything }, drafter(), { most });
      expect(said).toEqual(whole.said.slice(0, most));
      const inputs = await inputsOf(said, {});
      expect(stats?.approximate?.tokens).toBe(said.filter((token, i) => token !== draw(inputs[i])).length);
    }
  });

  test.each([2, 3, 4, 5, 6, 7])("maxTokens %i", async (maxTokens) => {
    const { said } = await run({ approximate: anything, maxTokens }, [stubborn([40, 41, 42, 43])]);
    expect(said).toHaveLength(maxTokens);
  });
});

test("the policy learns from what the text took, by rule", async () => {
  const experience = new Eager();
  const drafter = () => [stubborn([40, 41, 42, 43])];
  const estimate = (way: string) => experience.acceptance.estimate(`planned, ${way}`, 1);
  const before = estimate("greedy");
  await run({ approximate: anything, maxTokens: 200 }, drafter(), { experience });
  expect(estimate("greedy, relaxed")).toBeGreaterThan(0.95);
  expect(estimate("greedy")).toBe(before); // exact texts take less
  await run({ maxTokens: 200 }, drafter(), { experience });
  expect(estimate("greedy")).toBeLessThan(0.5);
  expect(estimate("greedy, relaxed")).toBeGreaterThan(0.95);
});

describe("through the public interface", () => {
  const text = "The sea was calm. The sea was calm. The sea";

  test("statistics name the rule, and are silent where the text is exact", async () => {
    const wish: GenerateOptions = { maxTokens: 40, temperature: 0.8, seed: 3, draft: [recycle()] };
    const rules = [true, { rule: "typical", delta: 0.2 }, { rule: "relaxed" }] as const;
    for (const approximate of rules) {
      const { stats } = await model.generate(text, { ...wish, approximate });
      const rule = approximate === true ? "typical" : approximate.rule;
      expect(stats.speculation?.approximate).toEqual({ rule, tokens: expect.any(Number) });
    }
    for (const approximate of [false, undefined])
      expect((await model.generate(text, { ...wish, approximate })).stats.speculation).not.toHaveProperty(
        "approximate",
      );
  });

  test("draft: false is exact", async () => {
    const wish: GenerateOptions = { maxTokens: 30, temperature: 0.8, seed: 3, draft: false, logprobs: 1 };
    const exact = await model.generate(text, wish);
    const found = await model.generate(text, { ...wish, approximate: { rule: "relaxed", top: 100, gap: 50 } });
    expect([found.text, found.tokens, found.logprobs]).toEqual([exact.text, exact.tokens, exact.logprobs]);
    expect(found.stats.speculation).toBeUndefined();
  });

  test("a chat has it as its default", async () => {
    const chat = model.chat({ maxTokens: 20, approximate: { rule: "relaxed" }, draft: [copy(), recycle()] });
    expect((await chat.send("Tell me of the sea.")).stats.speculation?.approximate?.rule).toBe("relaxed");
    expect((await chat.send("Again!", { approximate: false })).stats.speculation).not.toHaveProperty("approximate");
    chat.dispose();
  });

  test("refusals name the option", async () => {
    const approximate = { rule: "typical", epsilon: 2 } as const;
    await expect(model.generate("a", { approximate })).rejects.toEqual(
      code("OUTRIDER_ARGUMENT", /Expected a number above 0 and up to 1 for approximate\.epsilon, received 2$/),
    );
  });
});
