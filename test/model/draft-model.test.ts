// A smaller model as a drafter: what it proposes changes nothing but the steps, and a model that drafts for itself is always right.
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import type { DraftShape } from "../../lib/draft/shapes/options.ts";
import type { GenerateOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { draftModel, load, type Model, skipLayers } from "../../lib/index.ts";
import type { StepBatch } from "../../lib/model/runtime.ts";
import type { TokenTree } from "../../lib/tree/token-tree.ts";
import { code } from "../support/errors.ts";
import { writeForeign } from "../support/foreign.ts";
import { runDrafted, waysOfDrawing } from "../support/run-drafted.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
/** The same model, rounded to 2 bits: another law over the same tokens. */
let coarse: Model;
/** The same weights with other names for a tenth of the tokens, and some ids exchanged. */
let foreign: Model;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), "outrider-draft-model-"));
  writeForeign(path.join(folder, "foreign"));
  [model, coarse, foreign] = await Promise.all([
    load(tinyModel),
    load(tinyModel, { weights: { bits: 4, group: 32 } }),
    load(path.join(folder, "foreign")),
  ]);
});
afterAll(async () => {
  await Promise.all([model, coarse, foreign].map((one) => one?.dispose()));
  rmSync(folder, { recursive: true, force: true });
});

const prompt = "The old house at the end of the lane had been empty for";

const run = (options: GenerateOptions, drafters: readonly Drafter[]) => runDrafted(model, prompt, options, drafters);

describe.each(waysOfDrawing)("%s", (_, options) => {
  test("a model that drafts for itself is always right: seed, position and token decide a draw, whoever makes it", async () => {
    const plain = await run(options, []);
    const found = await run(options, [draftModel(model, { minConfidence: 0 })]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.draftModel.off).toBeUndefined();
    expect(found.stats?.accepted).toBe(found.stats?.drafted);
    expect(found.stats?.meanAcceptedLength).toBeGreaterThan(5);
  });

  test.each<[string, () => Drafter[], number]>([
    ["a coarser one", () => [draftModel(coarse)], 0.2],
    ["a coarser one with branches", () => [draftModel(coarse, { branches: 3, minConfidence: 0 })], 0],
    ["one of another vocabulary", () => [draftModel(foreign)], 0],
    ["together with copying", () => [copy({ minMatch: 1 }), draftModel(coarse, { maxTokens: 3 })], 0],
  ])("%s: the same text", async (_, drafters, least) => {
    const plain = await run(options, []);
    const found = await run(options, drafters());
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.draftModel.off).toBeUndefined();
    expect(found.stats?.drafters.draftModel.drafted).toBeGreaterThan(0);
    expect(found.stats?.accepted).toBeGreaterThan(least * (found.stats?.drafted as number));
  });
});

test("a greedy model of another vocabulary is right where both have the tokens", async () => {
  const { stats } = await run({}, [draftModel(foreign, { minConfidence: 0 })]);
  expect(stats?.accepted).toBeGreaterThan(0.5 * (stats?.drafted as number));
});

test("confidence ends chains", async () => {
  const lengthOf = async (minConfidence: number) => {
    const { stats } = await run({ temperature: 1, seed: 6 }, [draftModel(coarse, { minConfidence })]);
    return (stats?.drafted as number) / (stats?.steps as number);
  };
  expect(await lengthOf(0.9)).toBeLessThan(await lengthOf(0));
  expect(await lengthOf(1)).toBeLessThan(1.5);
});

test.each<[string, DraftShape | undefined]>([
  ["chains", undefined],
  ["trees", { kind: "dynamic", nodes: 6, depth: 4 }],
])("%s: what was read stays for texts that begin alike, which are the same as without", async (_, shape) => {
  const { runtime } = partsOf(coarse) as ModelParts;
  const read: number[] = [];
  const step = runtime.step.bind(runtime);
  const spy = vi.spyOn(runtime, "step").mockImplementation((batch, signal) => {
    if (!batch.scratch) read.push(batch.tokens?.length as number);
    return step(batch, signal);
  });
  const drafter = draftModel(coarse, shape ? { shape } : {});
  const options = { temperature: 0.7, seed: 5 };
  const texts = [prompt, `${prompt} many years`, "A wholly different matter is the", `${prompt} a week`];
  const first: number[] = [];
  for (const text of texts) {
    const plain = await runDrafted(model, text, options, []);
    read.length = 0;
    const found = await runDrafted(model, text, options, [drafter]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.draftModel.off).toBeUndefined();
    first.push(read[0]);
  }
  const whole = texts.map((text) => model.tokenize(text).length);
  const [, alike, other, later] = first;
  expect(alike).toBeLessThan(whole[1] - whole[0] + 6); // tokens may join where the texts part
  expect(other).toBeGreaterThan(whole[2] - 1);
  expect(later).toBeLessThan(whole[3] - whole[0] + 6);
  spy.mockRestore();
  await drafter.dispose();
});

describe("through the public interface", () => {
  test("from a source, loaded once; whoever disposes it early gets plain text and a warning", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const plain = await model.generate(prompt, { maxTokens: 24, temperature: 0.9, seed: 7, draft: false });
    const drafter = draftModel(tinyModel);
    for (const prompts of [[prompt], [prompt, prompt]]) {
      const wish = { maxTokens: 24, temperature: 0.9, seed: 7, draft: drafter };
      for (const found of await Promise.all(prompts.map((text) => model.generate(text, wish))))
        expect(found.tokens).toEqual(plain.tokens);
    }
    expect(warned).not.toHaveBeenCalled();
    await drafter.dispose();
    await drafter.dispose();
    await expect(model.generate(prompt, { draft: drafter })).rejects.toThrow(code("OUTRIDER_DISPOSED"));
    const gone = await load(tinyModel);
    const late = draftModel(gone);
    await gone.dispose();
    const found = await model.generate(prompt, { maxTokens: 24, temperature: 0.9, seed: 7, draft: late });
    expect(found.tokens).toEqual(plain.tokens);
    expect(found.stats.speculation?.off).toBe("every drafter failed");
    expect(warned).toHaveBeenCalledOnce();
    warned.mockRestore();
  });

  test("a source that does not load rejects, and may be there the next time", async () => {
    const missing = path.join(folder, "later");
    const drafter = draftModel(missing);
    await expect(model.generate(prompt, { maxTokens: 4, draft: drafter })).rejects.toThrow(code("OUTRIDER_NOT_FOUND"));
    cpSync(tinyModel, missing, { recursive: true });
    expect((await model.generate(prompt, { maxTokens: 4, draft: drafter })).tokens).toHaveLength(4);
    await drafter.dispose();
  });

  test("a model that has few of the tokens is refused with what to do", async () => {
    const stranger = await load();
    const asking = stranger.generate(prompt, { draft: draftModel(model) });
    const refused = code("OUTRIDER_UNSUPPORTED", /at least half of the model's 49152 tokens.*choose a smaller model/);
    await expect(asking).rejects.toThrow(refused);
    // The other way round most of 2048 short tokens are among 49152.
    const plain = await model.generate(prompt, { maxTokens: 24, draft: false });
    const drafted = await model.generate(prompt, { maxTokens: 24, draft: draftModel(stranger) });
    expect(drafted.tokens).toEqual(plain.tokens);
    await stranger.dispose();
  });

  test("a draft model with a shorter context drafts as long as the text fits", async () => {
    const short = await load(tinyModel, { contextLength: 40 });
    const plain = await model.generate(prompt, { maxTokens: 60, draft: false });
    const found = await model.generate(prompt, { maxTokens: 60, draft: draftModel(short) });
    expect(found.tokens).toEqual(plain.tokens);
    expect(found.stats.speculation?.drafters.draftModel.off).toBeUndefined();
    await short.dispose();
  });

  test("what load() names drafts for every call, and a call may say otherwise", async () => {
    const drafted = await load(tinyModel, { draft: draftModel(coarse) });
    const names = async (options: GenerateOptions) => {
      const { tokens, stats } = await drafted.generate(prompt, { maxTokens: 12, ...options });
      expect(tokens).toEqual((await model.generate(prompt, { maxTokens: 12, draft: false })).tokens);
      return Object.keys(stats.speculation?.drafters ?? {});
    };
    expect(await names({})).toEqual(["draftModel"]);
    expect(await names({ draft: undefined })).toEqual(["draftModel"]);
    expect(await names({ draft: "auto" })).toEqual(["copy"]);
    expect(await names({ draft: false })).toEqual([]);
    await drafted.dispose();
    await expect(load(tinyModel, { draft: 5 as never })).rejects.toThrow(code("OUTRIDER_ARGUMENT", /draft\[0\]/));
  });

  test("an abort while it drafts", async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 20);
    const wish = { maxTokens: 500, draft: draftModel(model), signal: controller.signal, ignoreEos: true };
    await expect(
      (async () => {
        for (;;) await model.generate(prompt, wish);
      })(),
    ).rejects.toThrow("enough");
  });

  test.each<[unknown, unknown, RegExp]>([
    ["", {}, /Expected a loaded model, a path or a hub id for source, received ""/],
    [null, {}, /for source, received null/],
    [{}, {}, /for source, received a Object/],
    ["x", { maxTokens: 0 }, /an integer from 1 to 64 for maxTokens, received 0/],
    ["x", { minConfidence: 2 }, /a number from 0 to 1 for minConfidence/],
    ["x", { branches: 1.5 }, /an integer from 1 to 8 for branches/],
    ["x", { branch: 1 }, /only maxTokens, minConfidence, branches, shape, head, stopAt for options, received "branch"/],
    ["x", { shape: "bush" }, /"chain" or an object with a kind: .* for shape, received "bush"/],
    [
      "x",
      { shape: { kind: "beam", width: 2, depth: 4 }, branches: 2 },
      /nothing beside a shape of its own for branches/,
    ],
    ["x", { shape: { kind: "static", nodes: 9, depth: 4 }, maxTokens: 4 }, /for maxTokens, received 4/],
    ["x", { shape: { kind: "static", nodes: 9, depth: 4 }, head: "y" }, /nothing beside a shape of its own for head/],
    ["x", { head: "" }, /a file for head, received ""/],
    ["x", { head: 5 }, /a file for head, received 5/],
    ["x", { head: "y", stopAt: -1 }, /a number from 0 to 1 for stopAt, received -1/],
    ["x", { head: "y", stopAt: Number.NaN }, /a number from 0 to 1 for stopAt, received NaN/],
    ["x", { stopAt: 0.5 }, /nothing without a head for stopAt, received 0.5/],
  ])("draftModel(%j, %j)", (source, options, message) => {
    expect(() => draftModel(source as string, options as object)).toThrow(code("OUTRIDER_ARGUMENT", message));
  });
});

describe("a model that skips layers for its drafts", () => {
  test.each(waysOfDrawing)("%s: the same text", async (_, options) => {
    const plain = await run(options, []);
    const { runtime } = partsOf(model) as ModelParts;
    for (const share of [0, 0.3, 0.6]) {
      const found = await run(options, [skipLayers({ share, minConfidence: 0 })]);
      expect(found.drawn).toEqual(plain.drawn);
      expect(found.stats?.drafters.skipLayers.off).toBeUndefined();
      expect(found.stats?.drafters.skipLayers.drafted).toBeGreaterThan(0);
      // With every layer it is the model itself.
      if (share === 0) expect(found.stats?.accepted).toBe(found.stats?.drafted);
    }
    expect(runtime.busy).toBe(false);
  });

  test("through the public interface, in a chat, several texts at once", async () => {
    const drafter = skipLayers();
    const plain = await model.generate(prompt, { maxTokens: 40, temperature: 0.8, seed: 3, draft: false });
    const all = await Promise.all(
      [0, 1, 2].map(() => model.generate(prompt, { maxTokens: 40, temperature: 0.8, seed: 3, draft: drafter })),
    );
    for (const found of all) {
      expect(found.tokens).toEqual(plain.tokens);
      expect(found.stats.speculation?.drafters.skipLayers.off).toBeUndefined();
    }
  });

  test.each<[object, RegExp]>([
    [{ share: 1 }, /from 0 to below 1 for share, received 1/],
    [{ maxTokens: 65 }, /for maxTokens/],
    [{ minConfidence: -1 }, /for minConfidence/],
    [{ layers: 3 }, /only share, maxTokens, minConfidence, folder/],
  ])("skipLayers(%j)", (options, message) => {
    expect(() => skipLayers(options)).toThrow(code("OUTRIDER_ARGUMENT", message));
  });
});

const shapes: [DraftShape, number][] = [
  [{ kind: "constant", branching: [2, 2, 1, 1] }, 3],
  [{ kind: "beam", width: 3, depth: 5 }, 4],
  [{ kind: "paths", count: 3, depth: 5 }, 4],
  [{ kind: "dynamic", nodes: 24, depth: 6 }, 2],
  [{ kind: "static", nodes: 16, depth: 6 }, 2],
  [{ kind: "confidence", width: 4, nodes: 24, depth: 6 }, 2],
];
const kindOf = (shape: DraftShape) => (typeof shape === "string" ? shape : shape.kind);

/** A drafter that notes every tree and the tokens that came after its root. */
function watched(drafter: Drafter): { drafter: Drafter; seen: { tree: TokenTree; tokens: Int32Array }[] } {
  const seen: { tree: TokenTree; tokens: Int32Array }[] = [];
  const start: Drafter["start"] = (...how) => {
    const session = drafter.start(...how);
    let tree: TokenTree | undefined;
    return {
      propose: async (budget) => {
        tree = await session.propose(budget);
        return tree;
      },
      observe: (outcome) => {
        if (tree) seen.push({ tree, tokens: outcome.tokens });
        tree = undefined;
        session.observe(outcome);
      },
      end: () => session.end?.(),
    };
  };
  const { name, kind } = drafter;
  return { drafter: { name, kind, prepare: (context) => drafter.prepare?.(context), start }, seen };
}

describe.each(shapes)("trees: %j", (shape, least) => {
  test.each(waysOfDrawing)("%s: a model that drafts for itself is right down to the leaves", async (_, options) => {
    const plain = await run(options, []);
    const { drafter, seen } = watched(draftModel(model, { shape }));
    const found = await run(options, [drafter]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.draftModel.off).toBeUndefined();
    expect(found.stats?.meanAcceptedLength).toBeGreaterThan(least);
    for (const { tree, tokens } of seen.slice(0, -1)) {
      let node = 0;
      for (const token of tokens.slice(0, -1)) node = tree.child(node, token);
      expect(node).toBeGreaterThan(0);
      expect(tree.children(node).length).toBe(0);
    }
  });

  test.each(waysOfDrawing)("%s: the same text by another model", async (_, options) => {
    const plain = await run(options, []);
    for (const drafters of [
      [draftModel(coarse, { shape })],
      [draftModel(foreign, { shape })],
      [copy({ minMatch: 1 }), draftModel(coarse, { shape, minConfidence: 0.01 })],
    ]) {
      const found = await run(options, drafters);
      expect(found.drawn).toEqual(plain.drawn);
      expect(found.stats?.drafters.draftModel.off).toBeUndefined();
      expect(found.stats?.drafters.draftModel.drafted).toBeGreaterThan(0);
      if (drafters.length === 1 && drafters[0].name === "draftModel") expect(found.stats?.accepted).toBeGreaterThan(0);
    }
  });

  test("what is accepted goes over into the cache of the draft model, and no row is evaluated twice", async () => {
    const { runtime } = partsOf(coarse) as ModelParts;
    const steps: StepBatch[] = [];
    const step = runtime.step.bind(runtime);
    const spy = vi.spyOn(runtime, "step").mockImplementation((batch, signal) => {
      steps.push(batch);
      return step(batch, signal);
    });
    const { drafter, seen } = watched(draftModel(coarse, { shape }));
    await run({ temperature: 0.7, seed: 5 }, [drafter]);
    spy.mockRestore();
    // Beside the prompt only what the trees did not hold: of a step the root, the token before it if it was a leaf, and no more.
    const caughtUp = steps.filter(({ scratch }) => !scratch).map(({ tokens }) => tokens?.length as number);
    expect(caughtUp.length).toBe(seen.length);
    expect(Math.max(...caughtUp.slice(1))).toBeLessThanOrEqual(2);
    const levels = steps.filter(({ scratch }) => scratch);
    expect(levels.length).toBeGreaterThan(seen.length);
    for (const { tokens, wants, topK } of levels) expect([wants.length, topK]).toEqual([tokens?.length, undefined]);
  });

  test("through the public interface: several texts at once, a short context, aborts", async () => {
    const wish = { maxTokens: 40, temperature: 0.8, seed: 3 };
    const plain = await model.generate(prompt, { ...wish, draft: false });
    const short = await load(tinyModel, { contextLength: 34 });
    for (const drafter of [draftModel(coarse, { shape }), draftModel(short, { shape })]) {
      const all = await Promise.all([0, 1].map(() => model.generate(prompt, { ...wish, draft: drafter })));
      for (const { tokens, stats } of all) {
        expect(tokens).toEqual(plain.tokens);
        expect(stats.speculation?.drafters.draftModel.off).toBeUndefined();
      }
    }
    await short.dispose();
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 30);
    const endless = { ...wish, maxTokens: 500, draft: draftModel(coarse, { shape }), ignoreEos: true };
    const until = async () => {
      for (;;) await model.generate(prompt, { ...endless, signal: controller.signal });
    };
    await expect(until()).rejects.toThrow("enough");
    expect((await model.generate(prompt, { ...wish, draft: draftModel(coarse, { shape }) })).tokens).toEqual(
      plain.tokens,
    );
  });
});

test("kinds of drafters tell shapes apart", () => {
  const kinds = shapes.map(([shape]) => draftModel(model, { shape }).kind);
  expect(new Set([...kinds, draftModel(model).kind]).size).toBe(shapes.length + 1);
  for (const [i, [shape]] of shapes.entries()) expect(kinds[i]).toContain(kindOf(shape));
});
