// A smaller model as a drafter: what it proposes changes nothing but the steps, and a model that drafts for itself is always right.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import type { GenerateOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { draftModel, load, type Model, skipLayers } from "../../lib/index.ts";
import { code } from "../support/errors.ts";
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
  cpSync(tinyModel, path.join(folder, "foreign"), { recursive: true });
  const file = path.join(folder, "foreign/tokenizer.json");
  const tokenizer = JSON.parse(readFileSync(file, "utf8"));
  const { vocab } = tokenizer.model as { vocab: Record<string, number> };
  const ids = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]);
  for (const [i, token] of ids.slice(-200).entries()) {
    const id = vocab[token];
    delete vocab[token];
    vocab[`${token}zq${i}`] = id;
  }
  const [a, b] = ids.slice(300, 302);
  [vocab[a], vocab[b]] = [vocab[b], vocab[a]];
  tokenizer.model.merges = (tokenizer.model.merges as (string | string[])[]).filter((merge) => {
    const joined = typeof merge === "string" ? merge.replace(" ", "") : merge.join("");
    return joined in vocab;
  });
  writeFileSync(file, JSON.stringify(tokenizer));
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
    ["x", { branch: 1 }, /only maxTokens, minConfidence, branches, head, stopAt for options, received "branch"/],
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
