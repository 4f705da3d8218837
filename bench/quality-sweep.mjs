#!/usr/bin/env node
// npm run quality:sweep [-- --only ID] [--blocks 4] [--json]
//
// Which calibration and which training serve 2 bits best: the first blocks of SmolLM2-135M-Instruct by several recipes, each of which
// differs from the first in one thing, measured on text that no recipe has seen (windows of Moby-Dick behind those of the quality
// table): the mean over tokens of |x - x*|^2 / |x*|^2, x* what the original carries behind these blocks. Rows:
// { id, tokens, heldOut, calibration, secondsPerBlock }, `calibration` the same error on the calibration tokens. Needs the folder of
// shared models.
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { load } from "outrider";
import { readTokenizer } from "../dist/generate/open.js";
import { settle } from "../dist/model/runtime.js";
import { native } from "../dist/native.js";
import { calibrationText, someOf } from "../dist/quantize/calibration.js";
import { openModel } from "../dist/quantize/model.js";

const root = path.resolve(import.meta.dirname, "..");
const shared = path.resolve(process.env.OUTRIDER_SHARED ?? path.join(root, "../shared"));
const { values } = parseArgs({
  options: {
    only: { type: "string" },
    blocks: { type: "string", default: "4" },
    json: { type: "boolean", default: false },
  },
});
const blocks = Number(values.blocks);
const sourcePath = path.join(shared, "models/smollm2-135m-instruct");
const foreign = path.join(shared, "text/sotu-calibration.txt");
const threads = 2;

const base = { from: ["self", "foreign"], tokens: 32768, window: 512, epochs: 2, rate: 0.005, beside: true };
const recipes = {
  base,
  "self only": { ...base, from: ["self"] },
  "foreign only": { ...base, from: ["foreign"] },
  "self from one opening": { ...base, from: ["one opening", "foreign"] },
  "16384 tokens": { ...base, tokens: 16384 },
  "65536 tokens": { ...base, tokens: 65536 },
  "window 256": { ...base, window: 256 },
  "window 1024": { ...base, window: 1024 },
  "4 epochs": { ...base, epochs: 4 },
  "rate 0.001": { ...base, rate: 0.001 },
  "rate 0.01": { ...base, rate: 0.01 },
  "no training": { ...base, epochs: 0 },
  "no training, matrices as they are": { ...base, epochs: 0, beside: false },
};
const wanted = Object.entries(recipes).filter(([id]) => values.only === undefined || id === values.only);
if (wanted.length === 0) throw new Error(`Expected one of ${Object.keys(recipes).join(", ")} for --only`);

const source = await openModel(sourcePath);
const { spec } = source.config;
const { weights, files } = source.weights;
const tokenizer = await readTokenizer(source.files, spec.vocab);
const say = (line) => process.stderr.write(`${line}\n`);

const known = new Map();
/** Windows of one kind of text, as many as that. */
async function windows(kind, window, count) {
  const key = `${kind} ${window}`;
  const have = known.get(key) ?? [];
  if (have.length >= count) return have.slice(0, count);
  if (kind === "one opening") {
    const model = await load(sourcePath, { contextLength: window });
    const start = model.tokenize("<|im_start|>");
    const sampling = { ignoreEos: true, temperature: 1, topK: 0, topP: 1, minP: 0 };
    for (let i = have.length; i < count; i++) {
      const { tokens } = await model.generate(start, { ...sampling, maxTokens: window - start.length, seed: i });
      have.push(Int32Array.from([...start, ...tokens]));
    }
    await model.dispose();
    known.set(key, have);
    return have;
  }
  const tokens = count * window;
  const options = { calibration: [kind === "self" ? "self" : foreign], window, tokens, distillTokens: tokens, seed: 0 };
  const [made] = await calibrationText(sourcePath, tokenizer, { ...options, threads }, [have]);
  known.set(key, made);
  return made;
}

const open = (text, beside) =>
  settle(native.quantizer({ spec, weights, files, ...text, threads, beside }), undefined, () => false);
const plan = (part) =>
  Array.from({ length: 7 }, () => ({ bits: 2, group: 64, method: "decoupleq", rounds: 8, ...part }));
const step = (quantizer, block) =>
  settle(quantizer.block({ epochs: 0, rate: 0, seed: 0, ...block }), undefined, () => false);

/** What the original carries behind the blocks. */
async function original(text) {
  const quantizer = await open(text, false);
  for (let l = 0; l < blocks; l++) await step(quantizer, { parts: plan({ bits: 16 }) });
  return quantizer.hidden();
}

function error(found, expected) {
  let mean = 0;
  const tokens = expected.length / spec.hidden;
  for (let t = 0; t < tokens; t++) {
    let [lost, size] = [0, 0];
    for (let i = t * spec.hidden; i < (t + 1) * spec.hidden; i++) {
      lost += (found[i] - expected[i]) ** 2;
      size += expected[i] ** 2;
    }
    mean += lost / size / tokens;
  }
  return Number(mean.toPrecision(4));
}

const golden = JSON.parse(readFileSync(path.join(shared, "golden/smollm2-135m-instruct/perplexity.json"), "utf8"));
const unseen = tokenizer.tokenizer.encode(readFileSync(path.join(shared, "text", golden.text), "utf8"));
const probe = Array.from({ length: 8 }, (_, i) =>
  unseen.subarray((golden.windows + 4 * i) * 1024, (golden.windows + 4 * i + 1) * 1024),
);
const held = someOf([probe], 8 * 1024, 1024);
const heldOriginal = await original(held);

const rows = [];
for (const [id, { from, tokens, window, epochs, rate, beside }] of wanted) {
  const sources = [];
  for (const kind of from) sources.push(await windows(kind, window, Math.round(tokens / window / from.length)));
  const text = someOf(sources, tokens, window);
  const quantizer = await open(text, beside);
  const checker = await open(held, false);
  let seconds = 0;
  for (let l = 0; l < blocks; l++) {
    const start = performance.now();
    const made = await step(quantizer, { parts: plan(), epochs, rate });
    seconds += (performance.now() - start) / 1e3;
    const parts = made.parts.map(({ codes, scale, zero }) => ({ ...plan()[0], codes, scale, zero }));
    await step(checker, { parts, norms: made.norms });
  }
  const calibration = error(quantizer.hidden(), await original(text));
  const heldOut = error(checker.hidden(), heldOriginal);
  const row = {
    id,
    tokens: text.tokens.length,
    heldOut,
    calibration,
    secondsPerBlock: Number((seconds / blocks).toFixed(1)),
  };
  say(JSON.stringify(row));
  rows.push(row);
}
if (values.only === undefined) {
  const made = { date: new Date().toISOString().slice(0, 10), cpu: os.cpus()[0].model, blocks, rows };
  writeFileSync(path.join(root, "bench/results/quality-sweep.json"), `${JSON.stringify(made, null, 2)}\n`);
}
if (values.json) console.log(JSON.stringify(rows, null, 2));
else console.table(rows);
