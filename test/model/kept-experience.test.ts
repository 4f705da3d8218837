// What drafting has learnt about a model on this machine is there for the next load; damage and hostile numbers count as nothing learnt.
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Experience } from "../../lib/draft/experience.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { type LoadOptions, load, type Model } from "../../lib/index.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

let root: string;
let folder: string;
let count = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "outrider-experience-"));
});
beforeEach(() => {
  folder = path.join(root, String(count++), "deeper");
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => rmSync(root, { recursive: true, force: true }));

const experienceOf = (model: Model) => (partsOf(model) as ModelParts).experience;

/** Says something that repeats, so that drafts are evaluated. */
async function talk(model: Model) {
  const prompt = Int32Array.from({ length: 60 }, (_, i) => (i % 6) * 13 + 5);
  return await model.generate(prompt, { maxTokens: 48, ignoreEos: true });
}

/** Loads, talks and disposes: what it knew at first and at the end. */
async function session(options: LoadOptions = {}) {
  const model = await load(tinyModel, { draftFolder: folder, ...options });
  const before = experienceOf(model).toInts();
  const { tokens } = await talk(model);
  const after = experienceOf(model).toInts();
  await model.dispose();
  return { before, after, tokens };
}

test("the next load knows what the last one learnt, and says the same", async () => {
  const first = await session();
  expect(first.before).toEqual(new Experience().toInts());
  expect(first.after).not.toEqual(first.before);
  const second = await session();
  expect(second.before).toEqual(first.after);
  expect(second.tokens).toEqual(first.tokens);
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("other threads, another arithmetic, another cache: another file", async () => {
  await session({ threads: 1 });
  for (const options of [{ threads: 2 }, { threads: 1, kv: "f32" }, { threads: 1, activation: "float" }] as const)
    expect((await session(options)).before).toEqual(new Experience().toInts());
  expect(readdirSync(folder)).toHaveLength(4);
});

test("without a folder nothing is kept, and a folder that is none is refused", async () => {
  const model = await load(tinyModel);
  await talk(model);
  await model.dispose();
  await expect(load(tinyModel, { draftFolder: "" })).rejects.toThrow(code("OUTRIDER_ARGUMENT"));
  await expect(load(tinyModel, { draftFolder: 7 as unknown as string })).rejects.toThrow(code("OUTRIDER_ARGUMENT"));
});

test("where it cannot be written, that is a warning", async () => {
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  const file = path.join(root, "a file");
  writeFileSync(file, "");
  const model = await load(tinyModel, { draftFolder: path.join(file, "below") });
  await talk(model);
  await model.dispose();
  expect(warned.mock.calls.map(([text]) => String(text))).toEqual([expect.stringContaining("Cannot keep drafts")]);
});

describe("a file that says something else counts as none", () => {
  /** Replaces what the file says, digest included. */
  const rewrite = (change: (text: string) => string) => {
    const [name] = readdirSync(folder);
    const bytes = readFileSync(path.join(folder, name));
    const start = bytes.indexOf("\n", bytes.indexOf("\n") + 1) + 1;
    const head = bytes.subarray(0, start);
    const text = change(bytes.subarray(start + 32).toString("utf8"));
    const body = Buffer.from(text.padEnd(Math.ceil(text.length / 4) * 4));
    const digest = createHash("sha256").update(head).update(body).digest();
    writeFileSync(path.join(folder, name), Buffer.concat([head, digest, body]));
  };

  test.each<[string, (text: string) => string]>([
    ["no JSON", () => "{"],
    ["null", () => "null"],
    ["a list", () => "[]"],
    ["a negative time", (text) => text.replace(/"token":/, '"token":-')],
    ["an infinite time", (text) => text.replace(/"host":/, '"host":1e999')],
    ["no tokens a call", (text) => text.replace(/"burst":/, '"burst":0.')],
    ["too many rows", (text) => text.replace('"curve":[', '"curve":[[1000000000,1,1],')],
    ["half a row", (text) => text.replace('"curve":[', '"curve":[[1.5,1,1],')],
    ["no rows", (text) => text.replace('"curve":[', '"curve":[[0,1,1],')],
    ["counts that are missing", (text) => text.replace('"acceptance":[[', '"acceptance":[["x",[1]],[')],
    [
      "more accepted than offered",
      (text) =>
        text.replace('"acceptance":[[', `"acceptance":[["x",[${new Array(10).fill(9)},${new Array(30).fill(0)}]],[`),
    ],
    ["a name that is none", (text) => text.replace('"acceptance":[[', '"acceptance":[[7,[]],[')],
  ])("%s", async (_, change) => {
    const { tokens } = await session();
    rewrite((text) => text);
    expect((await session()).before).not.toEqual(new Experience().toInts());
    rewrite(change);
    const third = await session();
    expect(third.before).toEqual(new Experience().toInts());
    expect(third.tokens).toEqual(tokens);
  });
});
