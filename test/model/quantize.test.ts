// quantizeModel() end to end: what it writes is what it computed, opens with load(), and survives being stopped anywhere.
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readTokenizer } from "../../lib/generate/open.ts";
import { compareModels, inspect, load, OutriderError, type QuantizePlan, quantizeModel } from "../../lib/index.ts";
import { readSafetensors } from "../../lib/load/safetensors.ts";
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { type MatrixPlan, native, want } from "../../lib/native.ts";
import { affine } from "../../lib/ops/index.ts";
import { heldOut, someOf } from "../../lib/quantize/calibration.ts";
import { madeText } from "../../lib/quantize/made-text.ts";
import { openModel } from "../../lib/quantize/model.ts";
import { checkQuantize, sizeQuantize } from "../../lib/quantize/options.ts";
import { ChatTemplate } from "../../lib/text/chat-template.ts";
import { run } from "../support/command.ts";
import { contents } from "../support/contents.ts";
import { microTokenizer } from "../support/micro-model.ts";
import { startRuntime } from "../support/runtime.ts";
import { settled } from "../support/settled.ts";
import { describeShared, sharedDir } from "../support/shared.ts";
import { entryBytes, readTensor, worstDifference } from "../support/tensors.ts";
import { tinyModel } from "../support/tiny.ts";

const folder = mkdtempSync(path.join(tmpdir(), "outrider-quantize-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = path.resolve(import.meta.dirname, "../../dist/cli/main.js");

let runs = 0;
const fresh = () => path.join(folder, `run-${runs++}`);
const text = path.join(folder, "text.txt");
writeFileSync(text, readFileSync(path.resolve(import.meta.dirname, "../../README.md"), "utf8"));
const small = { calibration: [text], tokens: 256, window: 64, rounds: 2, blockEpochs: 1, distillSteps: 0 } as const;

test("8 bits change next to nothing, 2 bits something, and each method loses less than the one before", async () => {
  const probe = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8");
  const original = await load(tinyModel);
  const { perplexity } = await original.perplexity(probe, { window: 128 });
  await original.dispose();
  const of = async (options: Partial<Parameters<typeof quantizeModel>[1]>) => {
    const out = fresh();
    const made = await quantizeModel(tinyModel, {
      out,
      calibration: [text],
      tokens: 1024,
      window: 128,
      distillSteps: 0,
      ...options,
    });
    const model = await load(out);
    const measured = (await model.perplexity(probe, { window: 128 })).perplexity;
    await model.dispose();
    const losses = made.blocks.flatMap((block) => Object.values(block.parts).map(({ loss }) => loss));
    return { ...made, perplexity: measured, loss: losses.reduce((sum, loss) => sum + loss, 0) };
  };
  const fine = await of({ bits: 8, group: 32, method: "rtn", blockEpochs: 0 });
  expect(fine.perplexity / perplexity).toBeCloseTo(1, 2);
  expect(fine.bitsPerWeight).toBe(9);
  const halves = await of({ bits: 4, group: 32, method: "rtn", embeddings: 16, blockEpochs: 0 });
  expect(halves.perplexity / perplexity).toBeLessThan(1.2);
  const rtn = await of({ method: "rtn", blockEpochs: 0 });
  const gptq = await of({ method: "gptq", blockEpochs: 0 });
  const decoupleq = await of({ method: "decoupleq", blockEpochs: 2 });
  expect(decoupleq.bitsPerWeight).toBe(2.5);
  expect(gptq.loss).toBeLessThan(0.8 * rtn.loss);
  expect(decoupleq.loss).toBeLessThan(0.9 * gptq.loss);
  expect(decoupleq.perplexity).toBeLessThan(rtn.perplexity);
  for (const { parts, error } of decoupleq.blocks) {
    for (const { loss, rounded } of Object.values(parts)) expect(loss).toBeLessThan(rounded);
    expect(error?.after).toBeLessThan(error?.before ?? 0);
  }
  expect(gptq.blocks[0].error).toBeUndefined();
});

test("3 bits, groups that do not divide, text of the model itself", async () => {
  const out = fresh();
  const progress: string[] = [];
  const made = await quantizeModel(tinyModel, {
    ...{ out, bits: 3, group: 48, calibration: ["self", text], tokens: 256, window: 64, seed: 3, blockEpochs: 0 },
    distillSteps: 0,
    onProgress: ({ phase, done, total }) => progress.push(`${phase} ${done <= total}`),
  });
  expect(made.blocks.length).toBeGreaterThan(0);
  expect(new Set(progress)).toEqual(new Set(["calibration true", "blocks true", "files true", "measurement true"]));
  const config = JSON.parse(readFileSync(path.join(out, "config.json"), "utf8"));
  expect(config.quantization_config).toMatchObject({
    quant_method: "decoupleq",
    bits: 3,
    group_size: 48,
  });
  const { tensors } = await readSafetensors(path.join(out, "model.safetensors"));
  const name = [...tensors.keys()].find((key) => key.endsWith("q_proj.codes")) ?? "";
  const entry = tensors.get(name);
  const codes = readFileSync(entry?.file ?? "").subarray(
    entry?.offset,
    (entry?.offset ?? 0) + (entry?.byteLength ?? 0),
  );
  expect(codes.length).toBe((entry?.shape[0] ?? 0) * Math.ceil((3 * made.plan.blocks[0].q.cols) / 8));
  const model = await load(out);
  const { text: answer } = await model.generate("The whale", { maxTokens: 8 });
  expect(answer.length).toBeGreaterThan(0);
  await model.dispose();
});

test("a comparison of a model with itself finds nothing, one with fewer bits what the definition says", async () => {
  const probe = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8").slice(0, 1500);
  const out = fresh();
  await quantizeModel(tinyModel, { out, ...small, bits: 4, method: "rtn", blockEpochs: 0 });
  const [a, b] = [await load(tinyModel), await load(out)];
  const same = await compareModels(a, a, probe, { window: 64, maxWindows: 2 });
  expect(same).toMatchObject({ kl: { mean: 0, p99: 0 }, top1: 1, tokens: 126 });
  expect(same.kl.percentiles).toEqual(new Array(101).fill(0));
  expect(same.perplexity[0]).toBe(same.perplexity[1]);
  const found = await compareModels(a, b, probe, { window: 64, maxWindows: 2 });
  for (const [i, model] of [a, b].entries()) {
    const { perplexity } = await model.perplexity(probe, { window: 64, maxWindows: 2 });
    expect(found.perplexity[i] / perplexity).toBeCloseTo(1, 4);
  }
  const ids = a.tokenize(probe).subarray(0, 64);
  const [x, y] = [await a.logits(ids), await b.logits(ids)].map(({ data }) => data as Float32Array);
  const vocab = a.info.vocab;
  const law = (logits: Float32Array, t: number) => {
    const exps = Array.from(logits.subarray(t * vocab, (t + 1) * vocab), Math.exp);
    const sum = exps.reduce((p, q) => p + q, 0);
    return exps.map((value) => value / sum);
  };
  let kl = 0;
  for (let t = 0; t < 63; t++) {
    const [p, q] = [law(x, t), law(y, t)];
    kl += p.reduce((sum, value, i) => sum + value * Math.log(value / q[i]), 0) / 63;
  }
  const half = await compareModels(a, b, probe, { window: 64, maxWindows: 1 });
  expect(half.kl.mean / kl).toBeCloseTo(1, 3);
  expect(half.kl.p99).toBeGreaterThan(half.kl.mean);
  expect(half.top1).toBeGreaterThan(0.5);
  await expect(compareModels(a, b, "")).rejects.toThrow(/two tokens/);
  await a.dispose();
  await b.dispose();
});

test("the same options give the same files, whatever the threads", async () => {
  const [a, b] = [fresh(), fresh()];
  await quantizeModel(tinyModel, { out: a, ...small, threads: 1 });
  await quantizeModel(tinyModel, { out: b, ...small, threads: 2 });
  expect(contents(b)).toEqual(contents(a));
});

test("killed at any moment, it resumes to the same files", async () => {
  const whole = fresh();
  await quantizeModel(tinyModel, { out: whole, ...small, distillSteps: 6, distillTokens: 256 });
  const out = fresh();
  const training = ["--block-epochs", "1", "--distill-steps", "6", "--distill-tokens", "256"];
  const sizes = ["--tokens", "256", "--window", "64", "--rounds", "2", ...training];
  const args = ["quantize", tinyModel, "--out", out, "--calibration", text, ...sizes];
  const done = () => existsSync(path.join(out, "config.json")) && !existsSync(path.join(out, ".quantize"));
  // The first dies before anything, later ones ever further on.
  for (let round = 0; round < 12 && !done(); round++) {
    const child = spawn(process.execPath, [main, ...args, ...(existsSync(out) ? ["--resume"] : [])], {
      stdio: "ignore",
    });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    const timer = setTimeout(() => child.kill("SIGKILL"), 300 + 250 * round);
    await exited;
    clearTimeout(timer);
  }
  if (!done()) expect((await run(process.execPath, [main, ...args, "--resume"])).status).toBe(0);
  const found = contents(out);
  for (const [name, bytes] of Object.entries(contents(whole)))
    expect([name, found[name] === bytes]).toEqual([name, true]);
  expect(readdirSync(out).sort()).toEqual(readdirSync(whole).sort());
});

const numpy = spawnSync("python3", ["-c", "import numpy"]).status === 0;
test.skipIf(!numpy)("numpy reads the format", async () => {
  const out = fresh();
  await quantizeModel(tinyModel, { out, ...small, bits: 2, group: 48, method: "rtn", blockEpochs: 0 });
  const script = path.resolve(import.meta.dirname, "../../examples/read_quantized.py");
  const listed = await run("python3", [script, out]);
  expect(listed.stdout).toMatch(/layers\.0\.self_attn\.q_proj {2}2 bits, groups of 48/);
  const { tensors } = await readSafetensors(path.join(out, "model.safetensors"));
  const bytes = (name: string) => {
    const entry = tensors.get(name);
    if (!entry) throw new Error(`no ${name}`);
    return { data: entryBytes(entry), shape: entry.shape };
  };
  for (const [module, bits, group] of [
    ["model.layers.0.mlp.down_proj", 2, 48],
    ["model.embed_tokens", 8, 32],
  ] as const) {
    const file = path.join(folder, "matrix.npy");
    expect((await run("python3", [script, out, module, file])).status).toBe(0);
    const found = readFileSync(file);
    const values = new Float32Array(Uint8Array.from(found.subarray(10 + found.readUInt16LE(8))).buffer);
    const codes = bytes(`${module}.codes`);
    const shape = [codes.shape[0], (codes.shape[1] * 8) / bits] as const;
    const halves = (name: string) => new Uint16Array(bytes(`${module}.${name}`).data.buffer);
    const own = affine({
      bits,
      group,
      codes: codes.data,
      scale: halves("scale"),
      zero: halves("zero"),
      shape,
    }).toFloat32();
    expect(worstDifference(values, own)).toBeLessThan(1e-6);
  }
});

test("an abort keeps finished blocks and rejects with its reason", async () => {
  const out = fresh();
  const controller = new AbortController();
  const reason = new Error("enough");
  const running = quantizeModel(tinyModel, {
    ...{ out, ...small, signal: controller.signal },
    onProgress: ({ phase }) => phase === "blocks" && controller.abort(reason),
  });
  await expect(running).rejects.toBe(reason);
  await quantizeModel(tinyModel, { out, ...small, resume: true });
  await (await load(out)).dispose();
});

test("what is behind the last block goes on without computing blocks", async () => {
  const [out, whole] = [fresh(), fresh()];
  const reason = new Error("enough");
  const stopped = quantizeModel(tinyModel, {
    ...{ out, ...small },
    onProgress: ({ phase }) => {
      if (phase === "files") throw reason;
    },
  });
  await expect(stopped).rejects.toBe(reason);
  const phases = new Set<string>();
  const resumed = await quantizeModel(tinyModel, {
    ...{ out, ...small, resume: true },
    onProgress: ({ phase }) => phases.add(phase),
  });
  expect(phases).toContain("files");
  expect(phases).not.toContain("blocks");
  const straight = await quantizeModel(tinyModel, { out: whole, ...small });
  expect(resumed.blocks).toEqual(straight.blocks);
  for (const name of ["model.safetensors", "config.json"])
    expect(readFileSync(path.join(out, name)).equals(readFileSync(path.join(whole, name)))).toBe(true);
});

test("a callback that throws ends the work with its error", async () => {
  for (const phase of ["calibration", "blocks", "files"]) {
    const error = new Error(`stop at ${phase}`);
    const running = quantizeModel(tinyModel, {
      ...{ out: fresh(), ...small },
      onProgress: (progress) => {
        if (progress.phase === phase) throw error;
      },
    });
    await expect(running).rejects.toBe(error);
  }
});

describe("refuses", () => {
  const refused = (options: object, message: RegExp, source?: string) =>
    expect(quantizeModel(source, { out: fresh(), ...options } as never)).rejects.toThrow(message);

  test("options by name", async () => {
    await refused({ bits: 5 }, /2, 3, 4, 8 for bits, received 5/);
    await refused({ group: 0 }, /group/);
    await refused({ method: "best" }, /rtn, gptq, decoupleq for method/);
    await refused({ embeddings: 2 }, /embeddings/);
    await refused({ calibration: [] }, /calibration/);
    await refused({ tokens: 3 }, /tokens/);
    await refused({ bit: 2 }, /only out, bits/);
    await expect(quantizeModel(tinyModel, { out: "" })).rejects.toThrow(/a folder for out/);
  });

  test("calibration files that are not there or not what they say", async () => {
    await refused(
      { calibration: [path.join(folder, "none.txt")] },
      /Expected a calibration file at .*none\.txt, found none/,
    );
    const bad = path.join(folder, "bad.jsonl");
    writeFileSync(bad, '{"text": "fine"}\n{"texts": 1}\n');
    await refused({ calibration: [bad] }, /line 2 of .*bad\.jsonl/);
    for (const id of ["-1", "1.5", "1e9", '"a"', "null"]) {
      writeFileSync(bad, `{"tokens": [5, ${id}]}\n`);
      await refused({ calibration: [bad] }, /Expected token ids below \d+ in line 1 of .*bad\.jsonl, received/);
    }
    const short = path.join(folder, "short.txt");
    writeFileSync(short, "a");
    await refused({ calibration: [short] }, /8 tokens or more/);
  });

  test("a folder in use, and a run of other options", async () => {
    const used = fresh();
    mkdirSync(used);
    writeFileSync(path.join(used, "notes.txt"), "mine");
    await expect(quantizeModel(tinyModel, { out: used, ...small })).rejects.toThrow(/empty or holds an unfinished run/);
    const out = fresh();
    const controller = new AbortController();
    const stopped = quantizeModel(tinyModel, {
      ...{ out, ...small, signal: controller.signal },
      onProgress: ({ phase }) => phase === "blocks" && controller.abort(new OutriderError("OUTRIDER_INTERNAL", "stop")),
    });
    await expect(stopped).rejects.toThrow(/stop/);
    await expect(quantizeModel(tinyModel, { out, ...small })).rejects.toThrow(/resume/);
    const again = (source: string, other: object) => quantizeModel(source, { out, ...small, ...other, resume: true });
    await expect(again(tinyModel, { bits: 4 })).rejects.toThrow(/bits: 2 of the unfinished run in .* received 4$/);
    await expect(again(tinyModel, { seed: 7 })).rejects.toThrow(/Expected seed: \d+ of the unfinished run/);
    const run = path.join(out, ".quantize/run.json");
    const settings = readFileSync(run);
    writeFileSync(run, "null");
    await expect(again(tinyModel, {})).rejects.toThrow(/Expected bits: none of the unfinished run .* received 2$/);
    writeFileSync(run, "{");
    await expect(again(tinyModel, {})).rejects.toThrow(/Expected JSON in .*run\.json/);
    writeFileSync(run, settings);
    // Another model is one that holds something else, not one that lies elsewhere or was written anew.
    const copy = fresh();
    cpSync(tinyModel, copy, { recursive: true });
    const weights = path.join(copy, "model.safetensors");
    chmodSync(weights, 0o600);
    const flipLastBit = () => {
      const bytes = readFileSync(weights);
      bytes[bytes.length - 1] ^= 1;
      writeFileSync(weights, bytes);
    };
    flipLastBit();
    await expect(again(copy, {})).rejects.toThrow(/Expected the model of the unfinished run/);
    flipLastBit();
    const { folder: finished } = await again(copy, {});
    expect(finished).toBe(out);
  });
});

test("what was lost is measured on text that was held out, and the card tells", async () => {
  const options = { ...small, bits: 4, method: "rtn", blockEpochs: 0 } as const;
  const card = (out: string) => readFileSync(path.join(out, "README.md"), "utf8");
  const [out, without, short] = [fresh(), fresh(), fresh()];
  const phases = new Set<string>();
  const { measured } = await quantizeModel(tinyModel, {
    out,
    ...options,
    onProgress: ({ phase }) => phases.add(phase),
  });
  expect(phases).toContain("measurement");
  expect(measured?.tokens).toBe(8 * (small.window - 1));
  const [before, after] = measured?.perplexity ?? [0, 0];
  expect(before).toBeGreaterThan(1);
  expect(after).toBeGreaterThan(before * 0.95);
  expect(after).toBeLessThan(before * 1.5);
  expect(measured?.kl.mean).toBeGreaterThan(0);
  for (const number of [before.toFixed(2), after.toFixed(2), measured?.kl.mean.toFixed(4)])
    expect(card(out)).toContain(number);

  expect((await quantizeModel(tinyModel, { out: without, ...options, measure: false })).measured).toBeUndefined();
  expect(card(without)).not.toContain("held out");
  const few = path.join(folder, "few.jsonl");
  writeFileSync(few, JSON.stringify({ tokens: Array.from({ length: 5 * small.window }, (_, i) => i + 10) }));
  const scarce = await quantizeModel(tinyModel, { out: short, ...options, calibration: [few] });
  expect(scarce.measured?.tokens).toBe(small.window - 1);
});

test("windows are trained on or held out, never both", () => {
  const windows = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => Int32Array.of(from + i + 1, from + i + 1));
  for (const [tokens, distillTokens] of [
    [2, 2],
    [10, 14],
    [18, 2],
  ]) {
    const options = { ...checkQuantize({ out: "x" }), window: 2, tokens, distillTokens };
    const all = Math.max(tokens, distillTokens) / 2 + 8;
    const text = [0, 1, 2].map((i) => windows(100 * i, Math.floor((all + i) / 3)));
    const seen = [tokens, distillTokens].flatMap((some) => Array.from(someOf(text, some, 2).tokens));
    const held = heldOut(text, options).map(([id]) => id);
    expect(held).toHaveLength(8);
    expect(held.filter((id) => seen.includes(id))).toEqual([]);
    expect(heldOut(text, { ...options, measure: false })).toEqual([]);
  }
});

test("a conversation goes through the model's template", async () => {
  const shared = sharedDir();
  if (!shared) return;
  const chats = path.join(folder, "chats.jsonl");
  const line = JSON.stringify({ messages: [{ role: "user", content: "Hello there, how are you today?" }] });
  writeFileSync(chats, `${line}\n`.repeat(40));
  const out = fresh();
  const source = path.join(shared, "models/tiny-target");
  const made = await quantizeModel(source, {
    out,
    calibration: [chats],
    tokens: 256,
    window: 64,
    method: "rtn",
    blockEpochs: 0,
    distillSteps: 0,
  });
  expect(made.bytes).toBeGreaterThan(0);
});

test("conversations that the model makes up are in its template", async () => {
  const { config, files } = await openModel(tinyModel, undefined);
  const { tokenizer } = await readTokenizer(files, config.spec.vocab);
  const source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>";
  const text = { tokenizer, template: new ChatTemplate(source) };
  const options = sizeQuantize(checkQuantize({ out: "x", window: 64, seed: 5 }), config.spec);
  const make = (range: [number, number], more = {}) =>
    madeText(tinyModel, "chat", range, text, { ...options, ...more }, () => {});
  const windows = await make([0, 4]);
  for (const ids of windows) {
    expect(ids.length).toBe(64);
    expect(tokenizer.decode(ids)).toMatch(/^<user>.+<\/user><assistant>.+/s);
  }
  expect(new Set(windows.map(String)).size).toBe(4);
  expect(await make([2, 4])).toEqual(windows.slice(2));
  await expect(make([0, 1], { window: 9 })).rejects.toThrow(/at least \d+ tokens for conversations/);
  const without = { ...text, template: new ChatTemplate(undefined) };
  await expect(madeText(tinyModel, "chat", [0, 1], without, options, () => {})).rejects.toThrow(
    /without a chat template/,
  );
});

test("tokens are taken as they are", async () => {
  const { config, files } = await openModel(tinyModel, undefined);
  const { tokenizer } = await readTokenizer(files, config.spec.vocab);
  const words = readFileSync(text, "utf8").slice(0, 4000);
  const ids = Array.from(tokenizer.encode(words));
  const [asText, asTokens] = [path.join(folder, "words.jsonl"), path.join(folder, "tokens.jsonl")];
  writeFileSync(asText, JSON.stringify({ text: words }));
  writeFileSync(asTokens, [ids.slice(0, 301), ids.slice(301)].map((tokens) => JSON.stringify({ tokens })).join("\n"));
  const made = [];
  for (const file of [asText, asTokens]) {
    const out = fresh();
    await quantizeModel(tinyModel, { out, ...small, calibration: [file], method: "gptq", blockEpochs: 0 });
    made.push(contents(out)["model.safetensors"]);
  }
  expect(made[0]).toBe(made[1]);
});

describeShared("families", (shared) => {
  const models = path.join(shared, "golden/families");
  // The quantiser has a forward pass of its own, on plain weights and whole sequences: with nothing quantised it must give the
  // residual stream of the runtime's decoder.
  test.each(readdirSync(models))("%s: blocks left as they are compute what the decoder does", async (name) => {
    const source = path.join(models, name);
    const tokens = (await readTensor(path.join(source, "golden.safetensors"), "input_ids")) as Int32Array;
    const files = await openSource(source);
    const config = specFromConfig(files.config ?? {});
    const map = mapWeights(config, files.tensors, files.kind, files.config);
    const { spec } = config;
    const lengths = Int32Array.of(40, tokens.length - 40);
    const job = native.quantizer({ spec, weights: map.weights, files: map.files, tokens, lengths, threads: 2 });
    const quantizer = await job.promise;
    const keep: MatrixPlan[] = Array.from({ length: 7 }, () => ({ bits: 16, group: 64, method: "rtn", rounds: 1 }));
    for (let l = 0; l < spec.layers.length; l++)
      await quantizer?.block({ parts: keep, epochs: 0, rate: 0, seed: 0 }).promise;
    const hidden = quantizer?.hidden() ?? new Float32Array();

    const runtime = await startRuntime(config, map);
    const caches = [runtime.newCache(), runtime.newCache()];
    const wants = new Uint8Array(tokens.length).fill(want.hidden);
    const sequence = Int32Array.from(tokens, (_, i) => (i < 40 ? 0 : 1));
    const step = await runtime.step({ caches, tokens, sequence, wants });
    await runtime.dispose();
    const expected = step.hidden ?? new Float32Array();
    expect(expected.length).toBe(tokens.length * spec.hidden);
    const size = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
    expect(worstDifference(hidden, expected) / size).toBeLessThan(2e-4);
  });

  test.each(readdirSync(models))("%s: what is written opens, and is nearly the model at 8 bits", async (name) => {
    const source = fresh();
    cpSync(path.join(models, name), source, { recursive: true });
    writeFileSync(path.join(source, "tokenizer.json"), JSON.stringify(microTokenizer));
    const out = fresh();
    const calibration = path.join(folder, "letters.txt");
    writeFileSync(calibration, "the cat sat on the mat ".repeat(40));
    await quantizeModel(source, {
      ...{ out, bits: 8, group: 32, method: "rtn", calibration: [calibration], tokens: 64, window: 32, blockEpochs: 0 },
      distillSteps: 0,
    });
    const tokens = (await readTensor(path.join(source, "golden.safetensors"), "input_ids")) as Int32Array;
    const logits = async (folder: string) => {
      const model = await load(folder, { activation: "float", kv: "f32" });
      const { data } = await model.logits(tokens);
      await model.dispose();
      return data as Float32Array;
    };
    const [before, after] = [await logits(source), await logits(out)];
    const mean = before.reduce((sum, x) => sum + x, 0) / before.length;
    const deviation = Math.sqrt(before.reduce((sum, x) => sum + (x - mean) ** 2, 0) / before.length);
    const error = Math.sqrt(before.reduce((sum, x, i) => sum + (x - after[i]) ** 2, 0) / before.length);
    expect(error / deviation).toBeLessThan(0.1);
  });
});

test("decoupleQ beside the original comes nearer to it, gptq quantises matrices as they are", async () => {
  const files = await openSource(tinyModel);
  const config = specFromConfig(files.config ?? {});
  const map = mapWeights(config, files.tensors, files.kind, files.config);
  const { spec } = config;
  const tokens = Int32Array.from({ length: 1024 }, (_, i) => (i * i * 31 + i * 7) % spec.vocab);
  const lengths = Int32Array.of(512, 512);
  const hidden = async (plan: Partial<MatrixPlan>, beside: boolean) => {
    const source = { spec, weights: map.weights, files: map.files, tokens, lengths, threads: 2 };
    const quantizer = await settled(native.quantizer({ ...source, beside }));
    const parts = Array.from(
      { length: 7 },
      (): MatrixPlan => ({ bits: 2, group: 64, method: "gptq", rounds: 3, ...plan }),
    );
    for (const _ of spec.layers) await settled(quantizer.block({ parts, epochs: 0, rate: 0, seed: 0 }));
    return quantizer.hidden();
  };
  const original = await hidden({ bits: 16 }, false);
  const error = (found: Float32Array) => found.reduce((sum, x, i) => sum + (x - original[i]) ** 2, 0);
  const [alone, beside] = [await hidden({ method: "decoupleq" }, false), await hidden({ method: "decoupleq" }, true)];
  expect(error(beside)).toBeLessThan(0.95 * error(alone));
  expect(await hidden({}, true)).toEqual(await hidden({}, false));
});

test("a byte budget is kept, planned before the work, and buys more than the same bytes spent evenly", async () => {
  const original = await load(tinyModel, { activation: "float" });
  const probe = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8").slice(0, 6000);
  const kl = async (out: string) => {
    const model = await load(out, { activation: "float" });
    const found = await compareModels(original, model, probe, { window: 128 });
    await model.dispose();
    return found.kl.mean;
  };
  const common = {
    calibration: [text],
    tokens: 1024,
    window: 128,
    blockEpochs: 0,
    distillSteps: 0,
    rounds: 4,
  } as const;
  const even = fresh();
  const flat = await quantizeModel(tinyModel, { out: even, ...common, bits: 2, group: 16 });
  const { blocks, tables } = flat.plan.bytes;
  const out = fresh();
  const plans: QuantizePlan[] = [];
  const phases: string[] = [];
  const made = await quantizeModel(tinyModel, {
    ...{ out, ...common, budget: blocks + tables },
    onPlan: (plan) => plans.push(plan),
    onProgress: ({ phase }) => void (phases.at(-1) !== phase && phases.push(phase)),
  });
  expect(phases).toEqual(["calibration", "plan", "blocks", "files", "measurement"]);
  expect(plans).toEqual([made.plan]);
  const kinds = new Set(made.plan.blocks.flatMap((block) => Object.values(block).map(({ bits }) => bits)));
  expect(kinds.size).toBeGreaterThan(1);
  expect(made.plan.bytes.blocks).toBeLessThanOrEqual(blocks);
  expect(made.plan.bytes.blocks).toBeGreaterThan(0.9 * blocks);
  const found = await inspect(out);
  const shapes = found.quantization?.shapes ?? [];
  expect(shapes.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(made.plan.bytes.blocks + made.plan.bytes.tables);
  expect(await kl(out)).toBeLessThan(await kl(even));
  await original.dispose();
  await refusedBudget(out);
});

async function refusedBudget(used: string): Promise<void> {
  await expect(quantizeModel(tinyModel, { out: fresh(), budget: 1000 })).rejects.toThrow(
    /a budget of at least \d+ bytes/,
  );
  await expect(quantizeModel(tinyModel, { out: fresh(), budget: 1e9, bits: 4 })).rejects.toThrow(/beside a budget/);
  await expect(quantizeModel(tinyModel, { out: fresh(), budget: 0.5 })).rejects.toThrow(/budget/);
  await expect(quantizeModel(tinyModel, { out: used, budget: 1e9 })).rejects.toThrow(/empty or holds/);
}
