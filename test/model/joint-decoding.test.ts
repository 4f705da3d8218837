// Texts that are drawn together are the texts that each would be alone, and one that fails takes no other with it.
import { afterAll, beforeAll, expect, test } from "vitest";
import { JointDecoding } from "../../lib/generate/joint-decoding.ts";
import { resolveOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { type GenerateOptions, load, type Model } from "../../lib/index.ts";
import type { StepBatch } from "../../lib/model/runtime.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
let parts: ModelParts;
beforeAll(async () => {
  model = await load(tinyModel);
  parts = partsOf(model) ?? expect.fail("no model");
});
afterAll(() => model.dispose());

const resolved = (options: GenerateOptions) => resolveOptions(options, parts.defaults, parts.runtime.spec.vocab);
const drawers = (signal?: AbortSignal) => new JointDecoding(parts.runtime, parts.endIds, signal);
const ids = (text: string) => Int32Array.from(model.tokenize(text));

const wishes: [prompt: string, options: GenerateOptions][] = [
  ["The old house", { maxTokens: 40, temperature: 1, seed: 1 }],
  ["At the end of the lane, behind the last of the trees, there was", { maxTokens: 25, temperature: 0 }],
  ["He", { maxTokens: 1, temperature: 1.2, seed: 3 }],
  ["They waited for some time", { maxTokens: 60, temperature: 0.8, topK: 20, seed: 4, ignoreEos: true }],
  ["They waited for some time", { maxTokens: 30, temperature: 0.7, topP: 0.9, repetitionPenalty: 1.3, seed: 5 }],
  ["It was dark", { maxTokens: 30, temperature: 1.1, minP: 0.05, minTokens: 4, seed: 6 }],
];

test("texts of several lengths, some of which begin later, are what they would be alone", async () => {
  const joint = drawers();
  const early = wishes.slice(0, 4).map(([prompt, options]) => joint.draw(ids(prompt), resolved(options)));
  await early[2]; // the others are under way
  const late = wishes.slice(4).map(([prompt, options]) => joint.draw(ids(prompt), resolved(options)));
  const together = await Promise.all([...early, ...late]);
  for (const [i, [prompt, options]] of wishes.entries()) {
    const { tokens } = await model.generate(prompt, { ...options, draft: false });
    expect(together[i], prompt).toEqual(tokens);
    expect(tokens.length).toBeGreaterThan(0);
  }
});

test("a stop token and the end of the context end one text", async () => {
  const alone = await model.generate("The old house", { maxTokens: 12, temperature: 0 });
  const [stop] = alone.tokens.slice(5, 6);
  const joint = drawers();
  const room = parts.runtime.options.contextLength;
  const long = Int32Array.from({ length: room - 2 }, (_, i) => i % 50);
  const [stopped, full] = await Promise.all([
    joint.draw(ids("The old house"), resolved({ maxTokens: 12, temperature: 0, stopTokens: [stop] })),
    joint.draw(long, resolved({ maxTokens: 12, temperature: 0, ignoreEos: true })),
  ]);
  expect(stopped).toEqual(alone.tokens.slice(0, alone.tokens.indexOf(stop) + 1));
  expect(full).toHaveLength(3); // two find room, and the last needs none
});

test("calls are shared", async () => {
  const steps: number[] = [];
  const { runtime } = parts;
  const counting = {
    spec: runtime.spec,
    newCache: () => runtime.newCache(),
    step(batch: StepBatch, signal?: AbortSignal) {
      steps.push(batch.caches.length);
      return runtime.step(batch, signal);
    },
  };
  const joint = new JointDecoding(counting as unknown as ConstructorParameters<typeof JointDecoding>[0], parts.endIds);
  const options = resolved({ maxTokens: 5, temperature: 0, ignoreEos: true });
  await Promise.all(["One", "Two of them", "Three"].map((prompt) => joint.draw(ids(prompt), options)));
  expect(steps).toEqual([3, 3, 3, 3, 3]);
});

test("a prompt that does not fit is refused alone; an abort ends all, and new texts may follow", async () => {
  const stop = new AbortController();
  const joint = drawers(stop.signal);
  const options = resolved({ maxTokens: 200, temperature: 0, ignoreEos: true });
  const tooLong = new Int32Array(parts.runtime.options.contextLength + 1);
  const [fits, bad, empty] = await Promise.allSettled([
    joint.draw(ids("The old house"), resolved({ maxTokens: 3, temperature: 0, ignoreEos: true })),
    joint.draw(tooLong, options),
    joint.draw(new Int32Array(), options),
  ]);
  expect(fits).toMatchObject({ status: "fulfilled", value: { length: 3 } });
  expect(bad).toMatchObject({ status: "rejected", reason: code("OUTRIDER_CONTEXT") });
  expect(empty).toMatchObject({ status: "rejected", reason: code("OUTRIDER_ARGUMENT") });

  const running = [joint.draw(ids("One"), options), joint.draw(ids("Two"), options)];
  const settled = Promise.allSettled(running);
  setImmediate(() => stop.abort(new Error("enough")));
  for (const one of await settled) expect(one).toMatchObject({ status: "rejected", reason: { message: "enough" } });
  await expect(joint.draw(ids("One"), options)).rejects.toThrow("enough");
  expect(await drawers().draw(ids("One"), resolved({ maxTokens: 2, temperature: 0, ignoreEos: true }))).toHaveLength(2);
});
