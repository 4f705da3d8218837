// Drafting changes nothing about what is said: every drafter, greedy and sampled, with everything that looks at a text's past.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import { Drafting } from "../../lib/draft/drafting.ts";
import { input } from "../../lib/draft/input.ts";
import { ngram } from "../../lib/draft/ngram.ts";
import { recycle } from "../../lib/draft/recycle.ts";
import { suffix } from "../../lib/draft/suffix.ts";
import { type DecodedToken, decode, emptyStats } from "../../lib/generate/decode.ts";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { load, type Model } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { chain } from "../../lib/tree/build.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { contextOf, Eager } from "../support/eager.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
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

/** Everything that is drawn, and what drafting says of itself. */
async function run(
  prompt: Int32Array,
  options: GenerateOptions,
  drafters: readonly Drafter[],
  { endIds = [], rows }: { endIds?: number[]; rows?: number } = {},
) {
  const resolved = resolveOptions({ seed: 1, ...options }, {}, runtime.spec.vocab);
  const cache = runtime.newCache();
  const drawn: DecodedToken[] = [];
  let drafting: Drafting | undefined;
  const start = (text: Int32Array) => {
    drafting = new Drafting(drafters, new Eager(rows), text, contextOf(runtime.spec.vocab));
    return drafting;
  };
  const draft = drafters.length > 0 ? start : undefined;
  for await (const token of decode(runtime, cache, prompt, 0, endIds, resolved, emptyStats(), draft)) drawn.push(token);
  const { length } = cache;
  cache.dispose();
  return { drawn, length, stats: drafting?.stats };
}

/** Proposes the text that it was given beforehand, and beside each token a wrong one. */
function oracle(text: readonly number[], width: number): Drafter {
  return {
    name: "oracle",
    start(tokens, { vocab }) {
      const begin = tokens.length;
      let said = 0;
      return {
        propose({ depth }) {
          const root = said === 0 ? undefined : text[said - 1];
          const ahead = text.slice(said, said + Math.min(width, depth));
          if (root === undefined || begin === 0 || ahead.length === 0) return undefined;
          const token = [root];
          const parent = [-1];
          let at = 0;
          for (const right of ahead) {
            token.push((right + 1) % vocab, right);
            parent.push(at, at);
            at = token.length - 1;
          }
          return new TokenTree({ token, parent });
        },
        observe({ tokens: more }) {
          said += more.length;
        },
      };
    },
  };
}

/** Proposes nonsense. */
const wrong = (): Drafter => ({
  name: "wrong",
  start(tokens, { vocab }) {
    let root = tokens[tokens.length - 1];
    const next = uniform(3);
    return {
      propose: ({ depth }) =>
        chain(
          root,
          Array.from({ length: Math.min(depth, 6) }, () => Math.floor(next() * vocab)),
        ),
      observe({ tokens: more }) {
        root = more[more.length - 1];
      },
    };
  },
});

const prompt = Int32Array.from({ length: 60 }, (_, i) => (i % 20) * 13 + 5);
const ways: [string, GenerateOptions][] = [
  ["greedy", {}],
  ["greedy with penalties", { repetitionPenalty: 1.2, frequencyPenalty: 0.1, penaltyWindow: 16 }],
  ["temperature 0.7", { temperature: 0.7, seed: 2 }],
  ["temperature 1, top-k, logprobs", { temperature: 1, topK: 30, logprobs: 4, seed: 3 }],
  ["temperature 1.2, top-p, min-p", { temperature: 1.2, topP: 0.95, minP: 0.01, seed: 4 }],
  [
    "bias, minTokens, stop tokens",
    { temperature: 0.9, logitBias: { 7: 1.5 }, minTokens: 25, stopTokens: [3, 9, 11], seed: 5 },
  ],
];

describe.each(ways)("%s", (_, options) => {
  const wish = { maxTokens: 70, ...options };
  let plain: Awaited<ReturnType<typeof run>>;
  beforeAll(async () => {
    plain = await run(prompt, wish, []);
  });

  test.each<[string, () => Drafter[]]>([
    ["copy, longest", () => [copy()]],
    ["copy, latest", () => [copy({ match: "latest", minMatch: 1 })]],
    ["copy, earliest", () => [copy({ match: "earliest", minMatch: 1 })]],
    ["ngram", () => [ngram({ corpus: prompt, explore: 1 })]],
    ["suffix", () => [suffix({ depth: 6 })]],
    ["input", () => [input({ source: [...prompt.slice(0, 10), 1, ...plain.drawn.map(({ token }) => token)] })]],
    ["recycle", () => [recycle()]],
    ["copy and recycle", () => [copy({ minMatch: 1 }), recycle({ width: 4 })]],
    [
      "an oracle",
      () => [
        oracle(
          plain.drawn.map(({ token }) => token),
          5,
        ),
      ],
    ],
    ["nonsense", () => [wrong()]],
    [
      "all",
      () => [
        wrong(),
        copy(),
        recycle(),
        oracle(
          plain.drawn.map(({ token }) => token),
          2,
        ),
      ],
    ],
  ])("%s", async (name, drafters) => {
    const found = await run(prompt, wish, drafters());
    expect(found.drawn).toEqual(plain.drawn); // log-probabilities to the bit
    expect(found.length).toBe(plain.length);
    if (name.includes("oracle")) {
      expect(found.stats?.accepted).toBeGreaterThan(plain.drawn.length / 2);
      expect(found.stats?.meanAcceptedLength).toBeGreaterThan(3);
    }
    if (name === "nonsense") expect(found.stats?.drafted).toBeGreaterThan(0);
  });
});

test("a thousand random prompts, greedy: the same tokens", { timeout: 120_000 }, async () => {
  const next = uniform(17);
  const shared = [copy({ minMatch: 1 }), recycle()];
  let accepted = 0;
  for (let i = 0; i < 1000; i++) {
    const short = Int32Array.from({ length: 1 + Math.floor(next() * 12) }, () => Math.floor(next() * 40));
    const plain = await run(short, { maxTokens: 10 }, []);
    const found = await run(short, { maxTokens: 10 }, shared, { rows: 6 });
    expect(found.drawn).toEqual(plain.drawn);
    accepted += found.stats?.accepted ?? 0;
  }
  expect(accepted).toBeGreaterThan(0);
});

describe("ends", () => {
  const text = async (options: GenerateOptions) => (await run(prompt, options, [])).drawn.map(({ token }) => token);

  test.each([1, 2, 3, 4, 5, 6])("maxTokens %i", async (maxTokens) => {
    const all = await text({ maxTokens: 12 });
    const found = await run(prompt, { maxTokens }, [oracle(all, 4)]);
    expect(found.drawn.map(({ token }) => token)).toEqual(all.slice(0, maxTokens));
    expect(found.length).toBe(prompt.length + maxTokens - 1);
  });

  test("an end token inside an accepted run", async () => {
    const all = await text({ maxTokens: 30, temperature: 1, seed: 8 });
    const end = all.findIndex((token, i) => i >= 3 && all.indexOf(token) === i);
    const found = await run(prompt, { maxTokens: 30, temperature: 1, seed: 8 }, [oracle(all, 6)], {
      endIds: [all[end]],
    });
    expect(found.drawn.map(({ token }) => token)).toEqual(all.slice(0, end + 1));
    expect(found.drawn[end].ends).toBe(true);
    expect(found.length).toBe(prompt.length + end);
  });

  test("the context is full inside a tree", async () => {
    const short = await openRuntime(tinyModel, { contextLength: prompt.length + 10 });
    const gather = async (draft?: (all: Int32Array) => Drafting) => {
      const cache = short.newCache();
      const resolved = resolveOptions({}, {}, short.spec.vocab);
      const drawn: number[] = [];
      for await (const { token } of decode(short, cache, prompt, 0, [], resolved, emptyStats(), draft))
        drawn.push(token);
      return { drawn, length: cache.length };
    };
    const plain = await gather();
    const drafted = await gather(
      (all) => new Drafting([oracle(plain.drawn, 4)], new Eager(), all, contextOf(short.spec.vocab)),
    );
    expect(drafted).toEqual(plain);
    expect(plain.drawn).toHaveLength(11);
    await short.dispose();
  });

  test("whoever stops reading inside an accepted run leaves a cache of what was read", async () => {
    const all = await text({ maxTokens: 20 });
    const cache = runtime.newCache();
    const resolved = resolveOptions({ maxTokens: 20 }, {}, runtime.spec.vocab);
    const draft = (whole: Int32Array) =>
      new Drafting([oracle(all, 5)], new Eager(), whole, contextOf(runtime.spec.vocab));
    const seen: number[] = [];
    for await (const { token } of decode(runtime, cache, prompt, 0, [], resolved, emptyStats(), draft)) {
      seen.push(token);
      if (seen.length === 9) break;
    }
    expect(seen).toEqual(all.slice(0, 9));
    expect(cache.length).toBe(prompt.length + 8);
    cache.dispose();
  });

  test("stop strings and seeds through the public interface", async () => {
    const wish: GenerateOptions = { maxTokens: 60, temperature: 1, seed: 11 };
    const plain = await model.generate("Once upon a time there was", wish);
    const stop = plain.text.slice(20, 24);
    for (const options of [wish, { ...wish, stop }, { ...wish, temperature: 0 }]) {
      const without = await model.generate("Once upon a time there was", options);
      for (const draft of [[copy(), recycle()], "auto"] as const) {
        const found = await model.generate("Once upon a time there was", { ...options, draft });
        expect([found.text, found.tokens, found.stop]).toEqual([without.text, without.tokens, without.stop]);
        expect(Object.keys(found.stats.speculation?.drafters ?? {})).toContain("recycle");
      }
      expect(without.stats.speculation).toBeUndefined();
    }
  });

  test("a conversation whose turns are drafted", async () => {
    const turns = async (options: GenerateOptions) => {
      const prompts = ["Tell me a story about a cat.", "Tell me a story about a cat.", "Again!"];
      const said: string[] = [];
      let text = "";
      for (const turn of prompts) {
        text += `${turn}\n`;
        const { text: reply } = await model.generate(text, { maxTokens: 30, ...options });
        text += `${reply}\n`;
        said.push(reply);
      }
      return said;
    };
    expect(await turns({ draft: copy() })).toEqual(await turns({}));
  });
});

describe("drafters that misbehave are switched off, and say why", () => {
  const step = (propose: (root: number) => unknown): Drafter => ({
    name: "bad",
    start: (tokens) => ({ propose: () => propose(tokens[tokens.length - 1]) as TokenTree, observe() {} }),
  });
  const thrower = (): never => {
    throw new Error("out of ideas");
  };
  const late = (root: number) => {
    const tree = chain(root, [1, 2]);
    tree.parent[1] = 2; // after it was checked
    return tree;
  };

  test.each<[string, Drafter]>([
    ["throws in start", { name: "bad", start: thrower }],
    ["throws in propose", step(thrower)],
    ["rejects", step(() => Promise.reject(new Error("out of ideas")))],
    ["throws in observe", { name: "bad", start: () => ({ propose: () => undefined, observe: thrower }) }],
    ["another root", step((root) => chain(root + 1, [1]))],
    ["no tree", step(() => ({ token: [1], parent: [-1] }))],
    ["null", step(() => null)],
    ["tokens outside the vocabulary", step((root) => chain(root, [1_000_000]))],
    ["a tree that was broken later", step(late)],
  ])("%s", async (_, bad) => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const plain = await run(prompt, { maxTokens: 12 }, []);
    const found = await run(prompt, { maxTokens: 12 }, [bad, copy()]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.bad.off).toBeTypeOf("string");
    expect(found.stats?.drafters.copy.off).toBeUndefined();
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });

  test("a tree that is deeper and larger than the budget is cut, not refused", async () => {
    const large = step((root) => {
      const tokens = Int32Array.from({ length: 200 }, (_, i) => i);
      return chain(root, tokens);
    });
    let root = -1;
    const follows: Drafter = {
      name: "large",
      start: (tokens) => {
        root = tokens[tokens.length - 1];
        return {
          propose: () =>
            chain(
              root,
              Int32Array.from({ length: 200 }, (_, i) => i),
            ),
          observe: ({ tokens: more }) => {
            root = more[more.length - 1];
          },
        };
      },
    };
    const plain = await run(prompt, { maxTokens: 12 }, []);
    for (const drafter of [large, follows]) {
      const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
      expect((await run(prompt, { maxTokens: 12 }, [drafter])).drawn).toEqual(plain.drawn);
      warn.mockRestore();
    }
    expect((await run(prompt, { maxTokens: 12 }, [follows])).stats?.drafters.large.off).toBeUndefined();
  });

  test.each([
    ["a string", "copy"],
    ["no start", { name: "x" }],
    ["no name", { start: () => ({}) }],
    ["too many best", { name: "x", start: () => ({}), best: 100 }],
    ["the same twice", [copy(), copy()]],
    ["null", [null]],
  ])("options: %s", (_, draft) => {
    expect(() => resolveOptions({ draft: draft as Drafter }, {}, 100)).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT", message: expect.stringContaining("draft") }),
    );
  });
});
