// Drafting changes nothing about what is said: every drafter, greedy and sampled, with everything that looks at a text's past.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import { Drafting } from "../../lib/draft/drafting.ts";
import { input } from "../../lib/draft/input.ts";
import { lookahead } from "../../lib/draft/lookahead.ts";
import { ngram } from "../../lib/draft/ngram.ts";
import { recycle } from "../../lib/draft/recycle.ts";
import { suffix } from "../../lib/draft/suffix.ts";
import { type DecodedToken, decode, emptyStats } from "../../lib/generate/decode.ts";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { load, type Model } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { chain } from "../../lib/tree/build.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { contextOf, Eager, greedy } from "../support/eager.ts";
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
    drafting = new Drafting(drafters, new Eager(rows), text, contextOf(runtime.spec.vocab), greedy);
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
    ["lookahead", () => [lookahead()]],
    ["lookahead and copy", () => [lookahead({ window: 8, length: 3 }), copy({ minMatch: 1 })]],
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
    if (name === "lookahead" && options.temperature === undefined) expect(found.stats?.accepted).toBeGreaterThan(5);
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
      (all) => new Drafting([oracle(plain.drawn, 4)], new Eager(), all, contextOf(short.spec.vocab), greedy),
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
      new Drafting([oracle(all, 5)], new Eager(), whole, contextOf(runtime.spec.vocab), greedy);
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
    const plain = await model.generate("Once upon a time there was", { ...wish, draft: false });
    const stop = plain.text.slice(20, 24);
    for (const options of [wish, { ...wish, stop }, { ...wish, temperature: 0 }]) {
      const without = await model.generate("Once upon a time there was", { ...options, draft: false });
      for (const draft of [[copy(), recycle()], "auto", undefined] as const) {
        const found = await model.generate("Once upon a time there was", { ...options, draft });
        expect([found.text, found.tokens, found.stop]).toEqual([without.text, without.tokens, without.stop]);
        expect(Object.keys(found.stats.speculation?.drafters ?? {})).toContain("copy");
      }
      expect(without.stats.speculation).toBeUndefined();
    }
  });

  test("a conversation whose turns are drafted, several at once", async () => {
    const turns = async (draft: GenerateOptions["draft"]) => {
      const chat = model.chat({ maxTokens: 40, temperature: 0.7, seed: 5, draft });
      const said: string[] = [];
      for (const turn of ["Tell me a story about a cat.", "Tell me a story about a cat.", "Again!"])
        said.push((await chat.send(turn)).text);
      chat.dispose();
      return said;
    };
    const plain = await turns(false);
    const drafters = [copy({ minMatch: 1 }), recycle()];
    expect(await Promise.all([turns(drafters), turns("auto"), turns(drafters)])).toEqual([plain, plain, plain]);
  });

  test("an abort inside a drafted step, and while a drafter thinks", async () => {
    const all = await text({ maxTokens: 40 });
    const slow: Drafter = {
      name: "slow",
      start: () => ({ propose: () => new Promise(() => {}), observe() {} }),
    };
    for (const drafter of [oracle(all, 5), slow]) {
      const controller = new AbortController();
      const reason = new Error("enough");
      setTimeout(() => controller.abort(reason), drafter === slow ? 30 : 3);
      const running = run(prompt, { maxTokens: 4000, signal: controller.signal }, [drafter]);
      await expect(running).rejects.toBe(reason);
    }
    const found = await run(prompt, { maxTokens: 40 }, [oracle(all, 5)]);
    expect(found.drawn.map(({ token }) => token)).toEqual(all);
  });

  test("tokens behind a stop string do not count as taken", async () => {
    const all = await text({ maxTokens: 20 });
    const cache = runtime.newCache();
    const resolved = resolveOptions({ maxTokens: 20 }, {}, runtime.spec.vocab);
    let drafting: Drafting | undefined;
    const draft = (whole: Int32Array) => {
      drafting = new Drafting([oracle(all, 5)], new Eager(), whole, contextOf(runtime.spec.vocab), greedy);
      return drafting;
    };
    let seen = 0;
    for await (const _ of decode(runtime, cache, prompt, 0, [], resolved, emptyStats(), draft)) {
      seen += 1;
      if (seen === 9) break; // 1 + 6 + 2 of 6
    }
    cache.dispose();
    expect(drafting?.stats).toMatchObject({ steps: 2, accepted: 7, drafted: 20 });
    expect(drafting?.stats.acceptedAtDepth).toEqual([1, 1, 0.5, 0.5, 0.5]);
    expect(drafting?.stats.drafters.oracle.drafted).toBe(20);
  });
});

describe("what drafters are given is theirs", () => {
  const spoil = (name: string, best: number): Drafter => ({
    name,
    best,
    start(tokens) {
      const text = tokens as Int32Array;
      let root = text[text.length - 1];
      text.fill(1);
      return {
        propose(budget) {
          budget.depth = 1e9;
          budget.nodes = -5;
          return chain(root, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        },
        observe({ tokens: more, rows, best: ids }) {
          root = more[more.length - 1];
          if (best > 0 && ids) expect(ids.length).toBe(best * rows.token.length);
          for (const array of [more, rows.token, rows.parent, ids]) array?.reverse().fill(0);
        },
      };
    },
  });

  test("its arrays may be overwritten, its budget too", async () => {
    const plain = await run(prompt, { maxTokens: 8 }, []);
    const found = await run(prompt, { maxTokens: 8 }, [
      spoil("a", 0),
      spoil("b", 3),
      recycle(),
      spoil("c", 16),
      copy(),
    ]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.length).toBe(plain.length);
    for (const { off } of Object.values(found.stats?.drafters ?? {})) expect(off).toBeUndefined();
  });

  test("any number of wide proposals", async () => {
    const wide = (name: string, offset: number): Drafter => ({
      name,
      start(tokens) {
        let root = tokens[tokens.length - 1];
        return {
          propose: () => {
            const token = [root, ...Array.from({ length: 100 }, (_, i) => (i + offset) % runtime.spec.vocab)];
            return new TokenTree({ token, parent: token.map((_, i) => (i === 0 ? -1 : 0)) });
          },
          observe({ tokens: more }) {
            root = more[more.length - 1];
          },
        };
      },
    });
    const plain = await run(prompt, { maxTokens: 8 }, []);
    const many = Array.from({ length: 12 }, (_, i) => wide(`wide ${i}`, 37 * i));
    const found = await run(prompt, { maxTokens: 8 }, many);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafted).toBeGreaterThan(0);
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
    [
      "an observe that rejects",
      {
        name: "bad",
        start: () => ({ propose: () => undefined, observe: async () => thrower() }),
      },
    ],
    [
      "an explore that rejects",
      {
        name: "bad",
        start: () => ({ propose: () => undefined, observe() {}, explore: (async () => thrower()) as unknown as never }),
      },
    ],
    ["a start that rejects", { name: "bad", start: (async () => thrower()) as unknown as Drafter["start"] }],
    [
      "throws what is no error",
      step(() => {
        throw Object.create(null);
      }),
    ],
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
