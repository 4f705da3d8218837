// Heads that end drafts: they change the length of a draft and nothing else, and their lengths are those of float64.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GenerateOptions, resolveOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { type DraftModelOptions, draftModel, load, type Model } from "../../lib/index.ts";
import { readFloats } from "../../lib/load/read-floats.ts";
import { openSource } from "../../lib/load/source.ts";
import type { StepBatch } from "../../lib/model/runtime.ts";
import { type NativeStoppingHeadOptions, native, want } from "../../lib/native.ts";
import { fromF16 } from "../../lib/tensor/dtype.ts";
import { expectClose } from "../support/close.ts";
import { costsOf } from "../support/eager.ts";
import { code } from "../support/errors.ts";
import { rmsnorm } from "../support/reference.ts";
import { runDrafted, waysOfDrawing } from "../support/run-drafted.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { describeShared } from "../support/shared.ts";
import { expectedAcceptance, headFile, headTensors, randomHead, sureHead } from "../support/stopping-head.ts";
import { tinyModel } from "../support/tiny.ts";

const hidden = 256;
const shape = { layers: 4, vocab: 2048 };
const prompt = "The old house at the end of the lane had been empty for";

let model: Model;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), "outrider-head-"));
  model = await load(tinyModel);
});
afterAll(async () => {
  await model?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;
function written(bytes: Buffer): string {
  const file = path.join(folder, `${files++}.safetensors`);
  writeFileSync(file, bytes);
  return file;
}
const save = (head: NativeStoppingHeadOptions) => written(headFile(head, shape));

/** What the head of a draft model reads where each token behind the first `from` is drawn, and how far f32 may be from that: `[tokens, hidden]`. */
async function statesOf(draft: Model, source: string, tokens: ArrayLike<number>, from: number) {
  const { runtime } = partsOf(draft) as ModelParts;
  const { tensors } = await openSource(source);
  const entry = tensors.get("model.norm.weight");
  if (entry?.format !== "f16" && entry?.format !== "f32") throw new Error("no norm");
  const norm = await readFloats(entry.file, entry.format, entry);
  const all = Int32Array.from(tokens).subarray(0, -1);
  const cache = runtime.newCache();
  const wants = Uint8Array.from(all, (_, i) => (i >= from - 1 ? want.hidden : 0));
  const step = { caches: [cache], tokens: all, sequence: new Int32Array(all.length), wants };
  const result = await runtime.step(step);
  cache.dispose();
  return rmsnorm(result.hidden as Float32Array, norm, runtime.spec.hidden, runtime.spec.normEps);
}

/** Proposals before a drafter knows what its tokens take, which are shorter. */
const untimed = 2;

/**
 * A model drafts for its own text, where all it drafts is right.
 * @returns the text, where it begins behind the prompt, and how many tokens were drafted after `untimed` tokens of it, and after each of the next
 */
async function chainsOf(draft: Model, options: DraftModelOptions, about: string, how: GenerateOptions, count: number) {
  const { draftContext, runtime } = partsOf(draft) as ModelParts;
  const maxTokens = untimed + count + (options.maxTokens ?? 8);
  const said = await draft.generate(about, { ...how, maxTokens, ignoreEos: true, draft: false });
  const before = draft.tokenize(about);
  const text = Int32Array.of(...before, ...said.tokens);
  const drafter = draftModel(draft, { minConfidence: 0, ...options });
  await drafter.prepare?.(draftContext);
  const sampling = { ...resolveOptions({ ...how, ignoreEos: true }, {}, runtime.spec.vocab), endIds: [] };
  const session = drafter.start(before, draftContext, sampling);
  const budget = { nodes: 64, depth: 64, costs: costsOf(() => 1e6, 1e6) }; // drafts cost nothing beside them, even on a crowded machine
  const lengths: number[] = [];
  for (let i = 0; i < untimed + count; i++) {
    const at = before.length + i;
    const chain = [...((await session.propose(budget))?.token ?? [])].slice(1);
    expect(chain).toEqual([...text.subarray(at, at + chain.length)]);
    if (i >= untimed) lengths.push(chain.length);
    session.observe({ tokens: text.slice(at, at + 1), rows: { token: new Int32Array(), parent: new Int32Array() } });
  }
  session.end?.();
  return { text, from: before.length, lengths };
}

describe.each(waysOfDrawing)("%s", (_, options) => {
  test.each([0.2, 0.7, 0.95])("a head that ends by chance, at %d: the same text", async (stopAt) => {
    const plain = await runDrafted(model, prompt, options, []);
    const head = save(randomHead(hidden, 2, 11));
    const found = await runDrafted(model, prompt, options, [draftModel(model, { head, stopAt, minConfidence: 0 })]);
    expect(found.drawn).toEqual(plain.drawn);
    expect(found.stats?.drafters.draftModel.off).toBeUndefined();
    // It drafts for itself: all is right, and fewer steps than tokens.
    expect(found.stats?.accepted).toBe(found.stats?.drafted);
    expect(found.stats?.drafted).toBeGreaterThan(10);
  });
});

const draws: [string, GenerateOptions][] = [
  ["greedy", { temperature: 0 }],
  ["sampled", { temperature: 1, seed: 3 }],
];

test.each(draws)(
  "%s: a head that rejects everything leaves one token, one that accepts everything all of them",
  async (_, how) => {
    const lengths = async (options: DraftModelOptions) =>
      (await chainsOf(model, { maxTokens: 6, ...options }, prompt, how, 7)).lengths;
    const [none, all] = [save(sureHead(hidden, false)), save(sureHead(hidden, true))];
    expect(await lengths({ head: none })).toEqual(new Array(7).fill(1));
    expect(await lengths({ head: all })).toEqual(new Array(7).fill(6));
    expect(await lengths({ head: all, stopAt: 0 })).toEqual(new Array(7).fill(6));
    expect(await lengths({ head: none, stopAt: 1 })).toEqual(new Array(7).fill(6));
    // The confidence of the draft model still counts.
    expect(await lengths({ head: all, minConfidence: 1 })).toEqual(new Array(7).fill(1));
    // Weights that overflow: what is NaN ends a draft.
    const huge = randomHead(hidden, 1, 5);
    for (const { weight } of [...huge.blocks, huge.classes]) weight.fill(3e38);
    expect(await lengths({ head: save(huge), stopAt: 1 })).toEqual(new Array(7).fill(1));
  },
);

/** Ends chains in float64 where the head does. @returns how many were of each length; those that are too close to call are left out */
async function expectLengths(
  draft: Model,
  source: string,
  head: NativeStoppingHeadOptions,
  options: DraftModelOptions & { stopAt: number; maxTokens: number },
  texts: readonly string[],
  how: GenerateOptions,
) {
  const seen = new Map<number, number>();
  for (const about of texts) {
    const { text, from, lengths } = await chainsOf(draft, options, about, how, 24);
    const states = await statesOf(draft, source, text, from);
    const { value, tolerance } = expectedAcceptance(head, states.value, states.tolerance);
    for (const [i, found] of lengths.entries()) {
      let [all, relative, close, length] = [1, 0, false, 0];
      while (length < options.maxTokens && 1 - all <= options.stopAt) {
        const at = untimed + i + length++;
        all *= value[at];
        relative += tolerance[at] / value[at];
        close ||= Math.abs(1 - all - options.stopAt) <= 2 * all * relative;
      }
      if (close) continue;
      expect(found, `${about}, ${i}`).toBe(length);
      seen.set(length, (seen.get(length) ?? 0) + 1);
    }
  }
  return seen;
}

test.each(draws)("%s: lengths of a random head are those of float64", async (_, how) => {
  const head = randomHead(hidden, 3, 21);
  const options = { head: save(head), stopAt: 0.9, maxTokens: 8 };
  const texts = [prompt, "In the beginning", "She said that"];
  const seen = await expectLengths(model, tinyModel, head, options, texts, how);
  expect([...seen.values()].reduce((a, b) => a + b, 0)).toBeGreaterThan(65); // of 72
  expect(seen.size).toBeGreaterThan(2);
});

describe("in the engine", () => {
  const rows = (count: number): Omit<StepBatch, "caches"> => ({
    tokens: Int32Array.from({ length: count }, (_, i) => (i * 37 + 11) % 2000),
    sequence: new Int32Array(count),
    wants: Uint8Array.from({ length: count }, (_, i) => (i + 1 < count ? 0 : want.sample)),
  });
  const run = async (batch: Partial<StepBatch>, temperature = 0) => {
    const { runtime } = partsOf(model) as ModelParts;
    const caches = batch.caches ?? [runtime.newCache()];
    const samplers = caches.map(() => greedySampler(2048, { temperature }));
    return runtime.step({ ...rows(300), samplers, ...batch, caches });
  };

  test.each([0, 1])(
    "what the head says of each token, at temperature %d: float64, whatever the head is asked with",
    async (temperature) => {
      const head = randomHead(hidden, 3, 31);
      const stop = new native.NativeStoppingHead(head);
      const { sampled, acceptance } = await run({ stop, repeat: 9 }, temperature);
      expect(acceptance).toHaveLength(9);
      const text = [...(rows(300).tokens as Int32Array), ...sampled];
      const states = await statesOf(model, tinyModel, text, 300);
      expectClose(acceptance as Float32Array, expectedAcceptance(head, states.value, states.tolerance), "acceptance");
      expect((await run({ repeat: 9 }, temperature)).sampled).toEqual(sampled);
      expect((await run({ repeat: 9 }, temperature)).acceptance).toBeUndefined();
      // One call for each token, best ones wanted too: the same bits.
      const { runtime } = partsOf(model) as ModelParts;
      const caches = [runtime.newCache()];
      let batch: Partial<StepBatch> = {};
      for (let i = 0; i < 9; i++) {
        const wants = (batch.wants ?? rows(300).wants).map((wanted) => (wanted === 0 ? 0 : want.sample | want.topk));
        const one = await run({ ...batch, wants, topK: 2, stop, stopAt: 0, caches }, temperature);
        expect([...one.sampled, ...(one.acceptance ?? [])]).toEqual([sampled[i], acceptance?.[i]]);
        batch = { tokens: one.sampled, sequence: new Int32Array(1), wants: Uint8Array.of(want.sample) };
      }
      // Where it ends, the tokens are the first of those.
      for (const count of [1, 4, 8]) {
        const all = (some: number) => (acceptance as Float32Array).subarray(0, some).reduce((a, b) => a * b, 1);
        const stopAt = 1 - (all(count - 1) + all(count)) / 2; // passed by the token of that number
        expect((await run({ stop, repeat: 9, stopAt }, temperature)).sampled).toEqual(sampled.slice(0, count));
      }
    },
  );

  const stop = new native.NativeStoppingHead(randomHead(hidden, 1, 1));
  test.each<[string, () => Partial<StepBatch>]>([
    ["no head", () => ({ stop: {} as never })],
    ["the method of one", () => ({ stop: Object.create(stop) })],
    ["another hidden size", () => ({ stop: new native.NativeStoppingHead(randomHead(255, 1, 1)) })],
    ["a bound below 0", () => ({ stop, stopAt: -0.1 })],
    ["a bound above 1", () => ({ stop, stopAt: 1.1 })],
    ["a bound that is none", () => ({ stop, stopAt: Number.NaN })],
    ["rows that want nothing", () => ({ stop, wants: new Uint8Array(300) })],
    ["every row wants a token", () => ({ stop, wants: new Uint8Array(300).fill(want.sample) })],
    [
      "the last row wants logits too",
      () => ({ stop, wants: new Uint8Array(300).fill(want.logits | want.sample, 299) }),
    ],
    ["a tree", () => ({ stop, scratch: true, parents: Int32Array.from({ length: 300 }, (_, i) => i - 1) })],
    ["part of the layers", () => ({ stop, layerEnd: 2 })],
  ])("refused: %s", async (_, batch) => {
    await expect(run({ ...batch(), repeat: 3 })).rejects.toThrow(code("OUTRIDER_ARGUMENT"));
    await expect(run(batch())).rejects.toThrow(code("OUTRIDER_ARGUMENT"));
  });
});

describe("files", () => {
  const head = randomHead(hidden, 1, 3);
  const tensors = headTensors(head);
  const without = (name: string) => Object.fromEntries(Object.entries(tensors).filter(([key]) => key !== name));
  const metadata = (text: unknown) => {
    const bytes = headFile(head, shape);
    const end = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString("utf8", 8, end));
    header.__metadata__ = text;
    const changed = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(changed.length));
    return Buffer.concat([length, changed, bytes.subarray(end)]);
  };
  const spoilt = (value: number) => {
    const weight = head.blocks[0].weight.slice();
    weight[77] = value;
    return headFile({ ...head, blocks: [{ ...head.blocks[0], weight }] }, shape);
  };
  test.each<[string, () => Buffer, string, RegExp]>([
    ["no safetensors", () => Buffer.from("not a head"), "OUTRIDER_FORMAT", /header/],
    ["cut short", () => headFile(head, shape).subarray(0, -4), "OUTRIDER_FORMAT", /\.safetensors/],
    [
      "no metadata",
      () => metadata(undefined),
      "OUTRIDER_FORMAT",
      /outrider\.head in the metadata .*received undefined/,
    ],
    ["a number as metadata", () => metadata({ "outrider.head": 1 }), "OUTRIDER_FORMAT", /in the metadata .*received 1/],
    ["metadata that is no JSON", () => metadata({ "outrider.head": "{" }), "OUTRIDER_FORMAT", /JSON/],
    [
      "a later version",
      () => headFile(head, { ...shape, version: 2 }),
      "OUTRIDER_UNSUPPORTED",
      /Expected 1 for version .*received 2/,
    ],
    [
      "no version",
      () => headFile(head, { ...shape, version: undefined }),
      "OUTRIDER_UNSUPPORTED",
      /received undefined/,
    ],
    [
      "a fraction of a block",
      () => headFile(head, { ...shape, blocks: 0.5 }),
      "OUTRIDER_FORMAT",
      /0 to 16 for blocks.*0\.5/,
    ],
    [
      "many blocks",
      () => headFile(head, { ...shape, blocks: 1e9 }),
      "OUTRIDER_FORMAT",
      /0 to 16 for blocks.*1000000000/,
    ],
    ["a text for a size", () => headFile(head, { ...shape, vocab: "2048" }), "OUTRIDER_FORMAT", /for vocab .*"2048"/],
    [
      "another hidden size",
      () => headFile(randomHead(128, 1, 1), shape),
      "OUTRIDER_UNSUPPORTED",
      /Expected a head for a draft model of 256 hidden, 4 layers and 2048 tokens, received one for 128 hidden, 4 layers/,
    ],
    [
      "another depth",
      () => headFile(head, { ...shape, layers: 2 }),
      "OUTRIDER_UNSUPPORTED",
      /received one for 256 hidden, 2 layers/,
    ],
    [
      "another vocabulary",
      () => headFile(head, { ...shape, vocab: 9 }),
      "OUTRIDER_UNSUPPORTED",
      /4 layers and 9 tokens/,
    ],
    [
      "a tensor less",
      () => headFile(head, shape, without("classes.bias")),
      "OUTRIDER_FORMAT",
      /\[2\] for classes\.bias .*received undefined/,
    ],
    [
      "a block less",
      () => headFile(head, { ...shape, blocks: 2 }),
      "OUTRIDER_FORMAT",
      /\[256,256\] for blocks\.1\.weight/,
    ],
    [
      "a block more",
      () => headFile(head, { ...shape, blocks: 0 }),
      "OUTRIDER_FORMAT",
      /only tensors of 0 blocks .*"blocks\.0\.weight"/,
    ],
    [
      "another shape",
      () =>
        headFile(head, shape, { ...tensors, "blocks.0.weight": { ...tensors["blocks.0.weight"], shape: [128, 512] } }),
      "OUTRIDER_FORMAT",
      /\[256,256\] for blocks\.0\.weight .*received "f32 \[128,512\]"/,
    ],
    [
      "integers",
      () => headFile(head, shape, { ...tensors, "classes.bias": { ...tensors["classes.bias"], dtype: "I32" } }),
      "OUTRIDER_FORMAT",
      /f32, f16 or bf16 tensor \[2\] for classes\.bias .*received "i32 \[2\]"/,
    ],
    ["NaN", () => spoilt(Number.NaN), "OUTRIDER_FORMAT", /finite values for blocks\.0\.weight .*received NaN/],
    ["infinity", () => spoilt(Number.NEGATIVE_INFINITY), "OUTRIDER_FORMAT", /received -Infinity/],
  ])("%s", async (_, bytes, errorCode, message) => {
    const drafter = draftModel(model, { head: written(bytes()) });
    await expect(model.generate(prompt, { maxTokens: 4, draft: drafter })).rejects.toThrow(code(errorCode, message));
  });

  test("a file that is not there yet may be there the next time, and texts at once read it once", async () => {
    const file = path.join(folder, "later.safetensors");
    const drafter = draftModel(model, { head: file });
    await expect(model.generate(prompt, { maxTokens: 4, draft: drafter })).rejects.toThrow(code("OUTRIDER_NOT_FOUND"));
    writeFileSync(file, headFile(head, shape));
    const plain = await model.generate(prompt, { maxTokens: 12, draft: false });
    const both = await Promise.all([0, 1].map(() => model.generate(prompt, { maxTokens: 12, draft: drafter })));
    for (const { tokens } of both) expect(tokens).toEqual(plain.tokens);
    rmSync(file);
    expect((await model.generate(prompt, { maxTokens: 12, draft: drafter })).tokens).toEqual(plain.tokens);
  });
});

describeShared("the head of the tiny pair", (shared) => {
  const file = path.resolve(import.meta.dirname, "../../training/tiny-pair.safetensors");
  const [large, small] = ["tiny-target", "tiny-draft"].map((name) => path.join(shared, "models", name));
  const pieces = (count: number) => {
    const whole = readFileSync(path.join(shared, "text/moby-dick-ch1-60.txt"), "utf8");
    return Array.from({ length: count }, (_, i) => whole.slice(50_000 + i * 40_000, 50_200 + i * 40_000));
  };
  let target: Model;
  let draft: Model;
  beforeAll(async () => {
    [target, draft] = await Promise.all([load(large), load(small)]);
  });
  afterAll(() => Promise.all([target?.dispose(), draft?.dispose()]));

  /** The committed file, read by hand. */
  function committed(): NativeStoppingHeadOptions {
    const bytes = readFileSync(file);
    const start = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString("utf8", 8, start));
    const about = JSON.parse(header.__metadata__["outrider.head"]);
    const values = (name: string) => {
      const [begin, end] = header[name].data_offsets;
      return Float32Array.from({ length: (end - begin) / 2 }, (_, i) =>
        fromF16(bytes.readUInt16LE(start + begin + 2 * i)),
      );
    };
    const layer = (name: string) => ({ weight: values(`${name}.weight`), bias: values(`${name}.bias`) });
    const blocks = Array.from({ length: about.blocks }, (_, i) => layer(`blocks.${i}`));
    return { hidden: about.hidden, blocks, classes: layer("classes") };
  }

  test.each(draws)("%s: its lengths are those of float64", async (_, how) => {
    const options = { head: file, stopAt: 0.7, maxTokens: 8 };
    const seen = await expectLengths(draft, small, committed(), options, pieces(4), how);
    expect([...seen.values()].reduce((a, b) => a + b, 0)).toBeGreaterThan(90); // of 96
    expect(seen.size).toBeGreaterThan(2);
  });

  test.each(draws)("%s: the same texts, and more of what is drafted is accepted", async (_, how) => {
    const totals = { plain: [0, 0], head: [0, 0] };
    for (const piece of pieces(6)) {
      const plain = await runDrafted(target, piece, how, []);
      for (const [name, options] of [
        ["plain", {}],
        ["head", { head: file }],
      ] as const) {
        const found = await runDrafted(target, piece, how, [draftModel(draft, { minConfidence: 0, ...options })]);
        expect(found.drawn).toEqual(plain.drawn);
        totals[name][0] += found.stats?.accepted as number;
        totals[name][1] += found.stats?.drafted as number;
      }
    }
    const share = ([accepted, drafted]: number[]) => accepted / drafted;
    expect(share(totals.head)).toBeGreaterThan(share(totals.plain));
  });
});
