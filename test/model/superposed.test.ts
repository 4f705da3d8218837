// Superposed decoding against a slow implementation of its own, and what callers rely on.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { partsOf } from "../../lib/generate/parts.ts";
import { load, type Model, type SuperposedOptions } from "../../lib/index.ts";
import { want } from "../../lib/native.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

const prompt = "The old house at the end of the lane had been empty for";
const corpus = [
  "The house had been empty for many years before the old man came to live there. Nobody had been there for a long time.",
  "It had been there for a long time, and the end of the lane was dark. They waited for some time at the gate.",
];

let model: Model;
beforeAll(async () => {
  model = await load(tinyModel, { activation: "float", kv: "f32" });
});
afterAll(() => model.dispose());

interface Slow {
  tokens: number[];
  score: number;
  ended: boolean;
}

/** Logits behind rows of embeddings, with no cache: everything is evaluated anew. */
async function logitsBehind(rows: readonly Float64Array[]): Promise<Float64Array> {
  const { runtime } = partsOf(model) ?? expect.fail("no model");
  const { hidden } = runtime.spec;
  const embeddings = new Float32Array(rows.length * hidden);
  for (const [i, row] of rows.entries()) embeddings.set(row, i * hidden);
  const wants = new Uint8Array(rows.length);
  wants[rows.length - 1] = want.logits;
  const cache = runtime.newCache();
  const { logits } = await runtime.step({ caches: [cache], embeddings, sequence: new Int32Array(rows.length), wants });
  cache.dispose();
  return Float64Array.from(logits ?? []);
}

/** Embeddings of tokens, as the first layer gets them. */
async function embeddingsOf(tokens: readonly number[]): Promise<Float64Array[]> {
  const { runtime } = partsOf(model) ?? expect.fail("no model");
  const { hidden } = runtime.spec;
  const rows = { sequence: new Int32Array(tokens.length), wants: new Uint8Array(tokens.length).fill(want.hidden) };
  const cache = runtime.newCache();
  const { hidden: values = new Float32Array() } = await runtime.step({
    ...{ ...rows, caches: [cache], tokens: Int32Array.from(tokens), layerEnd: 0 },
  });
  cache.dispose();
  return tokens.map((_token, i) => Float64Array.from(values.subarray(i * hidden, (i + 1) * hidden)));
}

/** Witten-Bell by definition: every text is searched for every run, shorter runs first, the prompt's after the corpus'. */
function slowNgram(texts: readonly (readonly number[])[][], past: readonly number[], x: number, base: number): number {
  let p = base;
  for (let length = 1; length <= 5 && length <= past.length; length++) {
    const run = past.slice(-length);
    for (const group of texts) {
      const followers: number[] = [];
      for (const text of group)
        for (let i = 0; i + length < text.length; i++)
          if (run.every((token, j) => text[i + j] === token)) followers.push(text[i + length]);
      const kinds = new Set(followers).size;
      const times = followers.filter((token) => token === x).length;
      if (kinds > 0) p = (times + kinds * p) / (followers.length + kinds);
    }
  }
  return p;
}

/** The method in plain steps, in doubles, with no cache, no trie and a full sort of the vocabulary. */
async function slow(
  options: Required<Pick<SuperposedOptions, "n" | "alpha" | "candidates" | "temperature" | "maxTokens">>,
  texts: readonly string[],
  ends: readonly number[],
): Promise<Slow[]> {
  const { n, alpha, candidates, temperature, maxTokens } = options;
  const { tokenizer } = partsOf(model) ?? expect.fail("no model");
  const ids = [...tokenizer.encode(prompt, { frame: true })];
  const counted = [texts.map((text) => [...tokenizer.encode(text)]), [ids]];
  const rows = await embeddingsOf(ids);
  let alive: Slow[] = [{ tokens: [], score: 0, ended: false }];
  const ended: Slow[] = [];
  for (let step = 0; step < maxTokens && alive.length > 0; step++) {
    if (step > 0) {
      const total = alive.reduce((sum, { score }) => sum + Math.exp(score), 0);
      const parts = await embeddingsOf(alive.map(({ tokens }) => tokens[step - 1]));
      rows.push(
        parts[0].map((_, k) => alive.reduce((sum, { score }, i) => sum + (Math.exp(score) / total) * parts[i][k], 0)),
      );
    }
    const logits = await logitsBehind(rows);
    const best = [...logits.keys()].sort((a, b) => logits[b] - logits[a]).slice(0, Math.max(n, candidates));
    const share = best.map((token) => Math.exp((logits[token] - logits[best[0]]) / temperature));
    const total = share.reduce((sum, one) => sum + one, 0);
    const next = alive.flatMap(({ tokens, score }) =>
      best.map((token, i) => {
        const p = Math.log(share[i] / total);
        const gram = Math.log(slowNgram(counted, [...ids, ...tokens], token, Math.exp(p)));
        return {
          tokens: [...tokens, token],
          score: score + (1 - alpha) * p + alpha * gram,
          ended: ends.includes(token),
        };
      }),
    );
    next.sort((a, b) => b.score - a.score);
    alive = [];
    for (const one of next) {
      if (ended.length + alive.length === n) break;
      const text = (tokens: number[]) => tokenizer.decode(tokens.filter((token) => !ends.includes(token)));
      const group = one.ended ? ended : alive;
      if (!group.some(({ tokens }) => text(tokens) === text(one.tokens))) group.push(one);
    }
  }
  return [...ended, ...alive].sort((a, b) => b.score - a.score);
}

describe("a slow implementation finds the same texts and scores", () => {
  let [ended, open, mixed] = [0, 0, 0];
  afterAll(() => {
    // Or
    expect(ended).toBeGreaterThan(4);
    expect(open).toBeGreaterThan(10);
    expect(mixed).toBeGreaterThan(20);
  });

  test.each<[string, SuperposedOptions, texts: string[], stops?: string]>([
    ["the defaults", {}, []],
    ["a corpus", { corpus }, corpus],
    ["one text as corpus, five texts", { corpus: corpus[0], n: 5, alpha: 0.8 }, [corpus[0]]],
    ["the model's law alone", { alpha: 0, corpus, n: 4 }, corpus],
    ["the counts' law alone", { alpha: 1, corpus, candidates: 20 }, corpus],
    ["one hypothesis, two candidates", { n: 1, candidates: 2, corpus }, corpus],
    ["a broad law", { temperature: 1, n: 4 }, []],
    ["a broad law and a corpus", { temperature: 1, n: 5, corpus }, corpus, " a"],
    ["a broad law alone", { temperature: 2, alpha: 0 }, []],
    ["more hypotheses than candidates", { n: 6, candidates: 2 }, []],
    ["full stops and commas end a text", { n: 4 }, [], ".,"],
    ["what is likely ends a text, with a corpus", { n: 6, corpus }, corpus, ",. the a in"],
  ])("%s", async (_, options, texts, stops = ";") => {
    const { runtime } = partsOf(model) ?? expect.fail("no model");
    const step = vi.spyOn(runtime, "step");
    const stopTokens = [...model.tokenize(stops)];
    const { n = 3, alpha = 0.54, candidates = 9, temperature = 0.06 } = options;
    const { continuations, stats } = await model.superposed(prompt, { ...options, maxTokens: 12, stopTokens });
    mixed += step.mock.calls.filter(
      ([{ mixWeights = [] }]) => Math.max(...mixWeights) < 0.99 && mixWeights.length > 1,
    ).length;
    step.mockRestore();
    ended += continuations.filter(({ finishReason }) => finishReason === "stop").length;
    open += continuations.filter(({ finishReason }) => finishReason === "length").length;
    const ends = [...(partsOf(model)?.endIds ?? []), ...stopTokens];
    const expected = await slow({ n, alpha, candidates, temperature, maxTokens: 12 }, texts, ends);
    expect(continuations.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
    for (const [i, { score, finishReason }] of continuations.entries()) {
      expect(Math.abs(score - expected[i].score)).toBeLessThan(1e-4 / temperature); // a few units of f32 in each logit
      expect(finishReason).toBe(expected[i].ended ? "stop" : "length");
    }
    expect(stats.steps).toBe(Math.max(...expected.map(({ tokens }) => tokens.length)));
    expect(stats.tokens).toBe(expected.reduce((sum, { tokens }) => sum + tokens.length, 0));
    expect(stats.promptTokens).toBe(partsOf(model)?.tokenizer.encode(prompt, { frame: true }).length);
    expect(stats.seconds).toBeGreaterThan(0);
  });
});

describe("one hypothesis without counts", () => {
  test.each([
    {},
    { ignoreEos: true },
    { stop: [" the", "zq"] },
    { stop: ["e", "ear"] },
    { stop: "\u00e9" },
    { stopTokens: [60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70] },
  ])("is the greedy text with %o", async (options) => {
    for (const start of [prompt, "Once upon a time", "A"]) {
      const greedy = await model.generate(start, { ...options, maxTokens: 60, temperature: 0, draft: false });
      const { continuations } = await model.superposed(start, { ...options, maxTokens: 60, n: 1, alpha: 0 });
      const { text, tokens, finishReason, stop } = greedy;
      expect(continuations).toEqual([
        { text, tokens, finishReason, score: expect.any(Number), ...(stop === undefined ? {} : { stop }) },
      ]);
    }
  });
});

describe("continuations", () => {
  test("are different texts, the likeliest first, and plain JSON", async () => {
    for (const start of [prompt, "Once upon a time", "She"]) {
      const result = await model.superposed(start, { n: 16, maxTokens: 24, corpus });
      const { continuations } = result;
      expect(continuations.length).toBeGreaterThan(10);
      expect(new Set(continuations.map(({ text }) => text)).size).toBe(continuations.length);
      const scores = continuations.map(({ score }) => score);
      expect(scores.every(Number.isFinite)).toBe(true);
      expect(scores).toEqual([...scores].sort((a, b) => b - a));
      expect(JSON.parse(JSON.stringify(result))).toEqual(result);
    }
  });

  test("end at stop strings, which are not part of them", async () => {
    const stop = [" to", "an"];
    const { continuations } = await model.superposed(prompt, { n: 8, maxTokens: 30, stop, ignoreEos: true });
    expect(continuations.some((one) => one.stop !== undefined)).toBe(true);
    for (const { text, tokens, finishReason, stop: found } of continuations) {
      expect(stop.every((one) => !text.includes(one))).toBe(true);
      expect([finishReason, tokens.length]).toEqual(found ? ["stop", expect.any(Number)] : ["length", 30]);
      const whole = model.detokenize(tokens);
      expect(whole.startsWith(text + (found ?? ""))).toBe(true);
    }
  });

  test("end at the model's end tokens, and have none where they are ignored", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "outrider-superposed-"));
    cpSync(tinyModel, folder, { recursive: true });
    const [end] = model.tokenize(" time");
    for (const name of ["config.json", "generation_config.json"]) {
      const file = path.join(folder, name);
      const config = JSON.parse(readFileSync(file, "utf8"));
      writeFileSync(file, JSON.stringify({ ...config, eos_token_id: end }));
    }
    const other = await load(folder, { threads: 1 });
    const options = { n: 6, maxTokens: 6 };
    const { continuations } = await other.superposed(prompt, options);
    const ended = continuations.filter(({ finishReason }) => finishReason === "stop");
    expect(ended.length).toBeGreaterThan(0);
    for (const { tokens, text, stop } of ended) {
      expect([tokens.indexOf(end), stop]).toEqual([tokens.length - 1, undefined]);
      expect(text).toBe(other.detokenize(tokens.slice(0, -1)));
    }
    const without = await other.superposed(prompt, { ...options, ignoreEos: true });
    for (const { tokens, finishReason } of without.continuations)
      expect([tokens.length, tokens.includes(end), finishReason]).toEqual([6, false, "length"]);
    await other.dispose();
    rmSync(folder, { recursive: true });
  });

  test("stop where the context is full", async () => {
    const length = partsOf(model)?.tokenizer.encode(prompt, { frame: true }).length ?? 0;
    for (const room of [0, 3]) {
      const short = await load(tinyModel, { contextLength: length + room });
      const { continuations, stats } = await short.superposed(prompt, { ignoreEos: true });
      expect(continuations.map(({ tokens, finishReason }) => [tokens.length, finishReason])).toEqual(
        new Array(3).fill([room + 1, "length"]),
      );
      expect(stats.steps).toBe(room + 1);
      await short.dispose();
    }
    const shorter = await load(tinyModel, { contextLength: length - 1 });
    await expect(shorter.superposed(prompt)).rejects.toEqual(code("OUTRIDER_CONTEXT"));
    await shorter.dispose();
  });

  test("of no tokens are one empty text", async () => {
    const { continuations } = await model.superposed(prompt, { maxTokens: 0 });
    expect(continuations).toEqual([{ text: "", tokens: [], score: 0, finishReason: "length" }]);
  });

  test("are the same beside other calls, and with a corpus that was counted before", async () => {
    const options = { n: 4, maxTokens: 16 };
    const texts = [...corpus];
    const alone = await model.superposed(prompt, { ...options, corpus: texts });
    const [beside, other] = await Promise.all([
      model.superposed(prompt, { ...options, corpus: texts }),
      model.superposed(prompt, options),
      model.generate(prompt, { maxTokens: 16 }),
    ]);
    expect(beside.continuations).toEqual(alone.continuations);
    expect(other.continuations).not.toEqual(alone.continuations);
    texts[0] = `${prompt} the birds that came in the spring.`;
    const changed = await model.superposed(prompt, { ...options, corpus: texts });
    expect(changed.continuations).not.toEqual(alone.continuations);
    const again = await model.superposed(prompt, { ...options, corpus: [...texts] });
    expect(again.continuations).toEqual(changed.continuations);
  });
});

describe("arguments", () => {
  test.each<[unknown, RegExp]>([
    [5, /an object for options, received 5$/],
    [null, /an object for options, received null$/],
    [{ nn: 3 }, /for options, received "nn"$/],
    [{ topK: 1 }, /for options, received "topK"$/],
    [{ temperature: 0 }, /a finite number above 0 for temperature, received 0$/],
    [{ temperature: Number.POSITIVE_INFINITY }, /for temperature, received Infinity$/],
    [{ temperature: "1" }, /for temperature, received "1"$/],
    [{ n: 0 }, /an integer from 1 to 64 for n, received 0$/],
    [{ n: 65 }, /for n, received 65$/],
    [{ n: 2.5 }, /for n, received 2.5$/],
    [{ n: "3" }, /for n, received "3"$/],
    [{ alpha: -0.1 }, /a number from 0 to 1 for alpha, received -0.1$/],
    [{ alpha: Number.NaN }, /for alpha, received NaN$/],
    [{ alpha: "0.5" }, /for alpha, received "0.5"$/],
    [{ candidates: 0 }, /an integer from 1 to 512 for candidates, received 0$/],
    [{ candidates: 513 }, /for candidates, received 513$/],
    [{ corpus: 5 }, /a string or an array of strings for corpus, received 5$/],
    [{ corpus: { length: 1e9 } }, /for corpus, received a Object$/],
    [{ corpus: ["a", 5] }, /a string for corpus\[1\], received 5$/],
    [{ maxTokens: -1 }, /for maxTokens, received -1$/],
    [{ stop: "" }, /for stop, received ""$/],
    [{ stopTokens: [2048] }, /for stopTokens\[0\], received 2048$/],
    [{ ignoreEos: "no" }, /for ignoreEos, received "no"$/],
    [{ signal: 5 }, /for signal, received 5$/],
  ])("%o is refused", async (options, message) => {
    await expect(model.superposed(prompt, options as never)).rejects.toEqual(code("OUTRIDER_ARGUMENT", message));
  });

  test("a corpus that is all length is refused before it is walked", async () => {
    const hollow: string[] = [];
    hollow.length = 2 ** 32 - 1;
    await expect(model.superposed(prompt, { corpus: hollow })).rejects.toEqual(
      code("OUTRIDER_ARGUMENT", /corpus\[0\]/),
    );
  });

  test("prompts that are none are refused", async () => {
    await expect(model.superposed(5 as never)).rejects.toEqual(code("OUTRIDER_ARGUMENT", /for prompt, received 5$/));
    await expect(model.superposed([])).rejects.toEqual(code("OUTRIDER_ARGUMENT", /at least one token for prompt/));
    await expect(model.superposed([1, 2048])).rejects.toEqual(code("OUTRIDER_ARGUMENT", /prompt\[1\], received 2048$/));
  });
});

describe("a call that is ended", () => {
  test("rejects with the reason of its signal, and leaves no cache", async () => {
    const { runtime } = partsOf(model) ?? expect.fail("no model");
    const made = vi.spyOn(runtime, "newCache");
    const reason = new Error("enough");
    const long = { n: 8, ignoreEos: true, corpus };
    await expect(model.superposed(prompt, { ...long, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const steps = vi.spyOn(runtime, "step");
    for (const after of [1, 5]) {
      steps.mockClear();
      const controller = new AbortController();
      const running = model.superposed(prompt, { ...long, signal: controller.signal });
      await vi.waitUntil(() => steps.mock.calls.length >= after, { interval: 1 });
      controller.abort(reason);
      await expect(running).rejects.toBe(reason);
    }
    const counting = new AbortController();
    steps.mockClear();
    const texts = Array.from({ length: 100 }, (_, i) => `${i} ${corpus[0]}`);
    const running = model.superposed(prompt, { corpus: texts, signal: counting.signal });
    setImmediate(() => counting.abort(reason));
    await expect(running).rejects.toBe(reason);
    expect(steps).not.toHaveBeenCalled();
    await model.superposed(prompt, { maxTokens: 4 });
    expect(made.mock.results.length).toBeGreaterThan(3);
    for (const { value } of made.mock.results) expect(value.disposed).toBe(true);
    expect(runtime.busy).toBe(false);
    vi.restoreAllMocks();
  });

  test("by disposal rejects with OUTRIDER_DISPOSED", async () => {
    const other = await load(tinyModel, { threads: 1 });
    const running = other.superposed(prompt, { ignoreEos: true });
    setTimeout(() => other.dispose(), 20);
    await expect(running).rejects.toEqual(code("OUTRIDER_DISPOSED"));
    await expect(other.superposed(prompt)).rejects.toEqual(code("OUTRIDER_DISPOSED"));
  });
});
