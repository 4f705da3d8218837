#!/usr/bin/env node
// npm run quality:sweep [-- --only ID, again for more] [--blocks 4] [--json]
//
// Which calibration and which training serve 2 bits best: the first blocks of SmolLM2-135M-Instruct by several recipes, each of which
// differs from the first in one thing, measured on text that no recipe has seen (windows of Moby-Dick behind those of the quality
// table): the mean over tokens of |x - x*|^2 / |x*|^2, x* what the original carries behind these blocks. Rows:
// { id, blocks, tokens, heldOut, calibration, secondsPerBlock }, `calibration` the same error on the calibration tokens. Finished rows
// are kept in bench/results/quality-sweep.json, and docs/quality.md shows them. Needs the folder of shared models.
import { parseArgs } from "node:util";
import { native } from "../dist/native.js";
import { rowKeeper } from "./kept-rows.mjs";
import { publish } from "./quality-report.mjs";
import { chosen, held, say, source, textOf, threads, wait } from "./quality-setup.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    blocks: { type: "string", default: "4" },
    json: { type: "boolean", default: false },
  },
});
const blocks = Number(values.blocks);

const base = { from: ["self", "foreign"], tokens: 32768, window: 512, epochs: 2, rate: 0.005, beside: true };
const recipes = {
  base,
  "self only": { ...base, from: ["self"] },
  "foreign only": { ...base, from: ["foreign"] },
  "conversations only": { ...base, from: ["chat"] },
  "a third of each": { ...base, from: ["chat", "self", "foreign"] },
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
const wanted = chosen(recipes, values.only);

const { spec } = source.config;
const { weights, files } = source.weights;
const open = (text, beside) => wait(native.quantizer({ spec, weights, files, ...text, threads, beside }));
const plan = (part) =>
  Array.from({ length: 7 }, () => ({ bits: 2, group: 64, method: "decoupleq", rounds: 8, ...part }));
const step = (quantizer, block) => wait(quantizer.block({ epochs: 0, rate: 0, seed: 0, ...block }));

/** What the original carries behind the blocks. */
async function original(text) {
  const quantizer = await open(text, false);
  for (let l = 0; l < blocks; l++) await step(quantizer, { parts: plan({ bits: 16 }) });
  const hidden = quantizer.hidden();
  quantizer.dispose();
  return hidden;
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

const heldOriginal = await original(held);

const keep = rowKeeper("quality-sweep", Object.keys(recipes));
const rows = [];
for (const [id, { from, tokens, window, epochs, rate, beside }] of wanted) {
  const text = await textOf(from, tokens, window);
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
  for (const each of [quantizer, checker]) each.dispose();
  const row = {
    id,
    blocks,
    tokens: text.tokens.length,
    heldOut,
    calibration,
    secondsPerBlock: Number((seconds / blocks).toFixed(1)),
  };
  say(JSON.stringify(row));
  keep(row);
  rows.push(row);
}
publish(rows, values.json);
