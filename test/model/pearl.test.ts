// A smaller model that drafts beside the model: it changes nothing but the steps, it works while the model does, and it leaves nothing behind.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { KvCache } from "../../lib/cache/kv-cache.ts";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import { decode, emptyStats } from "../../lib/generate/decode.ts";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { load, type Model, type PearlOptions, pearl } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { Eager } from "../support/eager.ts";
import { code } from "../support/errors.ts";
import { writeForeign } from "../support/foreign.ts";
import { runDrafted, waysOfDrawing } from "../support/run-drafted.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
/** The same model, rounded: another law over the same tokens. */
let coarse: Model;
beforeAll(async () => {
  [model, coarse] = await Promise.all([
    load(tinyModel, { threads: 1 }),
    load(tinyModel, { threads: 1, weights: { bits: 4, group: 32 } }),
  ]);
});
afterAll(() => Promise.all([model, coarse].map((one) => one?.dispose())));
afterEach(() => {
  vi.restoreAllMocks();
});

const prompt = "The old house at the end of the lane had been empty for";
const runtimeOf = (one: Model) => (partsOf(one) as ModelParts).runtime;

const run = (options: GenerateOptions, drafters: readonly Drafter[], policy = new Eager()) =>
  runDrafted(model, prompt, options, drafters, policy);

/** Drafts on any machine, however few cores it has. */
const beside = (source: Model | string, options: PearlOptions = {}) => pearl(source, { crowded: true, ...options });

/** A drafter, and what it proposes each time it is asked: tokens behind how many of a text. */
function heard(drafter: Drafter) {
  const text: number[] = [];
  const proposals: { behind: number; tokens: number[] }[] = [];
  const start: Drafter["start"] = (tokens, ...args) => {
    const session = drafter.start(tokens, ...args);
    text.push(...Array.from(tokens));
    return {
      propose: async (budget) => {
        const tree = await session.propose(budget);
        proposals.push({ behind: text.length, tokens: [...(tree?.token ?? [])].slice(1) });
        return tree;
      },
      observe: (outcome) => {
        text.push(...outcome.tokens);
        session.observe(outcome);
      },
      end: () => session.end?.(),
    };
  };
  return { ...drafter, start, text, proposals };
}

/** What a model says after a text on its own. */
async function says(one: Model, text: readonly number[], maxTokens: number, options: GenerateOptions) {
  const { runtime } = partsOf(one) as ModelParts;
  const resolved = resolveOptions({ seed: 1, ...options, maxTokens }, {}, runtime.spec.vocab);
  const cache = runtime.newCache();
  const tokens: number[] = [];
  for await (const { token } of decode(runtime, cache, Int32Array.from(text), 0, [], resolved, emptyStats()))
    tokens.push(token);
  cache.dispose();
  return tokens;
}

/** Caches that a model makes from now on. */
function cachesOf(one: Model): KvCache[] {
  const runtime = runtimeOf(one);
  const caches: KvCache[] = [];
  const make = runtime.newCache.bind(runtime);
  vi.spyOn(runtime, "newCache").mockImplementation(() => {
    const cache = make();
    caches.push(cache);
    return cache;
  });
  return caches;
}

/** All caches are freed, soon. */
const freed = (caches: KvCache[]) =>
  vi.waitFor(() => expect(caches.map(({ disposed }) => disposed)).toEqual(caches.map(() => true)), 10_000);

describe.each(waysOfDrawing)("%s", (_, options) => {
  test.each<[string, PearlOptions]>([
    ["few tokens", { maxTokens: 2 }],
    ["eight tokens", {}],
    ["many tokens on two threads", { maxTokens: 20, threads: 2 }],
  ])("a model that drafts for itself, %s: all accepted, and always something to propose", async (_, wish) => {
    const plain = await run(options, []);
    const drafter = heard(beside(model, { ...wish, minConfidence: 0 }));
    const { drawn, stats } = await run(options, [drafter]);
    expect(drawn).toEqual(plain.drawn);
    expect(stats?.drafters.pearl.off).toBeUndefined();
    expect(stats?.accepted).toBe(stats?.drafted);
    // Never again a step to find out where to start from.
    const lengths = drafter.proposals.map(({ tokens }) => tokens.length);
    expect(Math.min(...lengths)).toBeGreaterThan(0);
    // How long the others are depends on what a token takes, on a crowded machine too.
    expect(Math.max(...lengths)).toBeGreaterThan(1);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(wish.maxTokens ?? 8);
  });

  test.each<[string, () => Drafter[]]>([
    ["a coarser one", () => [beside(coarse)]],
    ["a coarser one that never stops", () => [beside(coarse, { minConfidence: 0, maxTokens: 20 })]],
    ["one token at a time", () => [beside(coarse, { maxTokens: 1 })]],
    ["together with copying", () => [copy({ minMatch: 1 }), beside(coarse, { maxTokens: 3 })]],
  ])("%s: the same text", async (_, drafters) => {
    const plain = await run(options, []);
    const { drawn, stats } = await run(options, drafters());
    expect(drawn).toEqual(plain.drawn);
    expect(stats?.drafters.pearl.off).toBeUndefined();
    expect(stats?.drafters.pearl.drafted).toBeGreaterThan(0);
    expect(stats?.drafters.pearl.accepted).toBeGreaterThan(0);
    expect(stats?.drafters.pearl.accepted).toBeLessThan(stats?.drafters.pearl.drafted as number);
  });
});

test.each(waysOfDrawing)(
  "%s: whatever was rejected before, what is proposed is what the draft model itself says there",
  async (_, options) => {
    const drafter = heard(beside(coarse, { minConfidence: 0 }));
    const { stats } = await run({ maxTokens: 120, ...options }, [drafter]);
    expect(stats?.accepted).toBeLessThan(stats?.drafted as number);
    const proposals = drafter.proposals.filter(({ tokens }) => tokens.length > 0);
    expect(proposals.length).toBeGreaterThan(3);
    for (const { behind, tokens } of proposals)
      expect(tokens).toEqual(await says(coarse, drafter.text.slice(0, behind), tokens.length, options));
  },
);

test("one of another vocabulary is right where both have the tokens", async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "outrider-pearl-"));
  writeForeign(folder);
  const foreign = await load(folder, { threads: 1 });
  const plain = await run({}, []);
  const { drawn, stats } = await run({}, [beside(foreign, { minConfidence: 0 })]);
  expect(drawn).toEqual(plain.drawn);
  expect(stats?.drafters.pearl.off).toBeUndefined();
  expect(stats?.accepted).toBeGreaterThan(0.5 * (stats?.drafted as number));
  await foreign.dispose();
  rmSync(folder, { recursive: true });
});

test("one with a shorter context drafts as long as the text fits", async () => {
  const short = await load(tinyModel, { threads: 1, contextLength: 40 });
  const plain = await run({ maxTokens: 80 }, []);
  const drafter = heard(beside(short, { minConfidence: 0 }));
  const { drawn, stats } = await run({ maxTokens: 80 }, [drafter]);
  expect(drawn).toEqual(plain.drawn);
  expect(stats?.drafters.pearl.off).toBeUndefined();
  expect(drafter.proposals[0].tokens.length).toBeGreaterThan(0);
  expect(drafter.proposals.at(-1)?.tokens).toEqual([]);
});

/** Notes for every step of the model how many drafts are under way when it is asked for. */
function watch(target: Runtime, drafts: Runtime): { tree: boolean; under: number }[] {
  const seen: { tree: boolean; under: number }[] = [];
  let under = 0;
  for (const runtime of new Set([target, drafts])) {
    const step = runtime.step.bind(runtime);
    vi.spyOn(runtime, "step").mockImplementation(async (batch, signal) => {
      if (!batch.beside) {
        seen.push({ tree: batch.scratch === true, under });
        return step(batch, signal);
      }
      under += 1;
      return step(batch, signal).finally(() => {
        under -= 1;
      });
    });
  }
  return seen;
}

test("the draft model goes on while the model verifies, and starts anew beside plain steps", async () => {
  const own = watch(runtimeOf(model), runtimeOf(model));
  await run({}, [beside(model, { minConfidence: 0 })]);
  const trees = own.filter(({ tree }) => tree);
  expect(trees.length).toBeGreaterThan(3);
  // Where the text ends nothing is drafted any more.
  expect(trees.slice(0, -2).every(({ under }) => under === 1)).toBe(true);
  vi.restoreAllMocks();
  const other = watch(runtimeOf(model), runtimeOf(coarse));
  await run({ temperature: 1.2, seed: 3 }, [beside(coarse, { minConfidence: 0 })]);
  const plain = other.slice(1, -2).filter(({ tree }) => !tree);
  expect(plain.length).toBeGreaterThan(0);
  expect(plain.every(({ under }) => under === 1)).toBe(true);
  expect(other.some(({ tree, under }) => tree && under === 1)).toBe(true);
});

test("as many tokens are drafted as fit the step beside", async () => {
  /** Says that a step takes as long as `tokens` drafted ones. */
  const lengthsFor = async (seconds: number) => {
    const { runtime } = partsOf(model) as ModelParts;
    const step = runtime.step.bind(runtime);
    const lengths: number[] = [];
    vi.spyOn(runtime, "step").mockImplementation(async (batch, signal) => {
      if (batch.beside) lengths.push(batch.repeat as number);
      const result = await step(batch, signal);
      // A drafted token takes a second by its own account.
      return batch.beside ? { ...result, seconds: result.sampled.length } : result;
    });
    const policy = new (class extends Eager {
      override get plain() {
        return seconds;
      }
    })();
    vi.spyOn(policy.curve, "seconds").mockReturnValue(seconds);
    await run({ maxTokens: 200 }, [beside(model, { minConfidence: 0, maxTokens: 16 })], policy);
    vi.restoreAllMocks();
    return lengths.slice(4, 12);
  };
  expect(new Set(await lengthsFor(5))).toEqual(new Set([5]));
  expect(new Set(await lengthsFor(9))).toEqual(new Set([9]));
  expect(new Set(await lengthsFor(1e4))).toEqual(new Set([17])); // maxTokens, and one for what the model draws itself
});

test("a text is read while the model reads it, unless the last one never asked for a draft", async () => {
  const { runtime, draftContext, tokenizer } = partsOf(model) as ModelParts;
  const drafter = beside(coarse);
  await drafter.prepare?.(draftContext);
  const sampling = { ...resolveOptions({ temperature: 0 }, {}, runtime.spec.vocab), endIds: [] };
  const begun = vi.spyOn(runtimeOf(coarse), "step");
  const caches = cachesOf(coarse);
  const text = tokenizer.encode(prompt);
  const budget = { nodes: 8, depth: 8 };
  const counts: number[] = [];
  for (const ask of [true, false, true, true]) {
    begun.mockClear();
    const session = drafter.start(text, draftContext, sampling);
    counts.push(begun.mock.calls.length);
    if (ask) await session.propose(budget);
    session.end?.();
  }
  expect(counts).toEqual([1, 1, 0, 1]);
  await freed(caches);
});

test("confidence ends proposals", async () => {
  const lengthOf = async (minConfidence: number) => {
    const { stats } = await run({ temperature: 1, seed: 6 }, [beside(coarse, { minConfidence })]);
    return (stats?.drafted as number) / Math.max(1, stats?.steps as number);
  };
  expect(await lengthOf(0.9)).toBeLessThan(await lengthOf(0));
});

describe("through the public interface", () => {
  const options = { maxTokens: 60, temperature: 0.9, seed: 7, ignoreEos: true };

  test("from a source, loaded once, several texts at a time; disposed twice", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const plain = await model.generate(prompt, { ...options, draft: false });
    const drafter = beside(tinyModel);
    for (const count of [1, 3]) {
      const all = Array.from({ length: count }, () => model.generate(prompt, { ...options, draft: drafter }));
      for (const found of await Promise.all(all)) expect(found.tokens).toEqual(plain.tokens);
    }
    expect(warned).not.toHaveBeenCalled();
    await drafter.dispose();
    await drafter.dispose();
    await expect(model.generate(prompt, { draft: drafter })).rejects.toThrow(code("OUTRIDER_DISPOSED"));
  });

  test("the draft model is disposed in the middle: plain text from there, and a warning", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const plain = await model.generate(prompt, { ...options, maxTokens: 300, draft: false });
    for (const wait of [0, 1, 3, 8]) {
      const [fresh, other] = await Promise.all([load(tinyModel, { threads: 1 }), load(tinyModel, { threads: 1 })]); // a policy that knows nothing yet
      const caches = cachesOf(other);
      const running = fresh.generate(prompt, { ...options, maxTokens: 300, draft: beside(other) });
      await new Promise((resolve) => setTimeout(resolve, wait));
      await other.dispose();
      expect((await running).tokens).toEqual(plain.tokens);
      await freed(caches);
      await fresh.dispose();
    }
    expect(warned).toHaveBeenCalled();
    for (const [message] of warned.mock.calls) expect(message).toMatch(/Drafter pearl is switched off: .*disposed/);
  });

  test("the model is disposed in the middle: the call rejects, and the draft model goes on for others", async () => {
    const caches = cachesOf(coarse);
    for (const wait of [0, 2, 6]) {
      const other = await load(tinyModel, { threads: 1 });
      const running = other.generate(prompt, { ...options, maxTokens: 1900, draft: beside(coarse) });
      const outcome = expect(running).rejects.toEqual(code("OUTRIDER_DISPOSED"));
      await new Promise((resolve) => setTimeout(resolve, wait));
      await other.dispose();
      await outcome;
    }
    await freed(caches);
    const plain = await model.generate(prompt, { ...options, draft: false });
    expect((await model.generate(prompt, { ...options, draft: beside(coarse) })).tokens).toEqual(plain.tokens);
  });

  test("an abort in the middle, wherever it lands", async () => {
    const caches = cachesOf(coarse);
    const reason = new Error("enough");
    for (let wait = 0; wait < 12; wait++) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), wait);
      const wish = { ...options, maxTokens: 1900, signal: controller.signal };
      await expect(run(wish, [beside(coarse)])).rejects.toBe(reason);
    }
    expect(caches.length).toBeGreaterThan(0);
    await freed(caches);
  });

  test("a stream that is left early ends the draft beside it", async () => {
    const caches = cachesOf(model);
    for await (const piece of model.stream(prompt, { ...options, maxTokens: 1900, draft: beside(model) }))
      if (piece.tokens.length > 0) break;
    await freed(caches);
  });

  test("workers that end while a draft runs", async () => {
    const root = path.resolve(import.meta.dirname, "../..");
    const file = path.join(root, "test/support/programs/terminate.mjs");
    const { stdout } = await promisify(execFile)(process.execPath, [file, "pearl"], { cwd: root });
    expect(stdout.trim()).toBe("terminated 20");
  });

  test.each<[unknown, unknown, RegExp]>([
    ["", {}, /Expected a loaded model, a path or a hub id for source, received ""/],
    [null, {}, /for source, received null/],
    [{}, {}, /for source, received a Object/],
    ["x", { maxTokens: 0 }, /an integer from 1 to 64 for maxTokens, received 0/],
    ["x", { minConfidence: Number.NaN }, /a number from 0 to 1 for minConfidence/],
    ["x", { threads: 0 }, /an integer from 1 to 256 for threads, received 0/],
    ["x", { threads: 1.5 }, /for threads, received 1.5/],
    ["x", { crowded: 1 }, /true or false for crowded, received 1/],
    ["x", { branches: 1 }, /only maxTokens, minConfidence, threads/],
    ["x", null, /for options, received null/],
  ])("pearl(%j, %j)", (source, wish, message) => {
    expect(() => pearl(source as string, wish as object)).toThrow(code("OUTRIDER_ARGUMENT", message));
  });
});

test("without a core for each thread it is switched off, and says what to do", async () => {
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  const plain = await run({}, []);
  const { drawn, stats } = await run({}, [pearl(coarse, { threads: 256 })]);
  expect(drawn).toEqual(plain.drawn);
  expect(stats?.drafters.pearl.off).toMatch(/Expected 257 cores, .* received \d+: load the model with fewer threads/);
  expect(warned).toHaveBeenCalledOnce();
});
