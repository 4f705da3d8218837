#!/usr/bin/env node
// npm run quality:sweep-distillation [-- --only ID, again for more] [--steps 100] [--work FOLDER] [--json]
//
// Which rate and which text serve end-to-end distillation best: SmolLM2-135M-Instruct at 2 bits in groups of 64, its blocks trained as
// by default, then distilled by several recipes, each of which differs from the first in one thing. Rows: { id, steps, heldOut,
// calibration, seconds }: the KL divergence from the original in nats on text that no recipe has seen (eight windows of Moby-Dick behind
// those of the quality table) and the mean loss of the last tenth of the steps. `before` is without any. An unfinished run with the
// blocks is kept in FOLDER and found there again. Finished rows are kept in bench/results/quality-sweep-distillation.json, and
// docs/quality.md shows them. Needs the folder of shared models.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { quantizeModel } from "outrider";
import { native } from "../dist/native.js";
import { uniformPlan } from "../dist/quantize/plan.js";
import { Run } from "../dist/quantize/run.js";
import { rowKeeper } from "./kept-rows.mjs";
import { publish } from "./quality-report.mjs";
import { chosen, foreign, held, say, source, sourcePath, textOf, threads, wait } from "./quality-setup.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    steps: { type: "string", default: "100" },
    work: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const steps = Number(values.steps);
const window = 512;

const base = { from: ["self", "foreign"], rate: 0.001 };
const recipes = {
  base,
  "rate 0.0005": { ...base, rate: 0.0005 },
  "rate 0.002": { ...base, rate: 0.002 },
  "rate 0.005": { ...base, rate: 0.005 },
  "self only": { ...base, from: ["self"] },
  "foreign only": { ...base, from: ["foreign"] },
  "a third of each": { ...base, from: ["chat", "self", "foreign"] },
};
const wanted = chosen(recipes, values.only);

const { spec } = source.config;
const { weights, files } = source.weights;

/** The blocks of an unfinished run that has all of them. */
async function trainedBlocks(out) {
  const done = new AbortController();
  let last = "";
  const onProgress = ({ phase, done: at, total }) => {
    const step = `${phase} ${10 * Math.floor((10 * at) / total)} %`;
    if (step !== last) say(step);
    last = step;
    if (phase === "distillation") done.abort();
  };
  await quantizeModel(sourcePath, {
    ...{ out, embeddings: 16, calibration: ["self", foreign], distillSteps: 1, measure: false },
    ...{ resume: existsSync(out), signal: done.signal, onProgress },
  }).catch((error) => {
    if (!done.signal.aborted) throw error;
  });
  const run = new Run(out);
  const plan = uniformPlan(spec, 2, 64);
  return Promise.all(plan.map((parts, l) => run.block(`block-${String(l).padStart(4, "0")}`, parts)));
}

const work = values.work ?? path.join(mkdtempSync(path.join(os.tmpdir(), "outrider-sweep-")), "run");
const blocks = await trainedBlocks(work);
if (!values.work) rmSync(path.dirname(work), { recursive: true });

async function distiller(text, options) {
  const tables = { tableBits: 16, tableGroup: 32, seed: 0 };
  const made = await wait(native.distiller({ spec, weights, files, ...text, threads, ...tables, ...options }));
  for (const { matrices, norms } of blocks) await wait(made.block({ parts: matrices, norms }));
  await wait(made.ready());
  return made;
}
const round = (value) => Number(value.toPrecision(4));
/** Divergence on text that nothing has seen, with what was trained. */
async function heldOut(state) {
  const made = await distiller(held, { rate: 0, steps: 1 });
  if (state) made.restore(state, 1);
  made.round();
  const found = await wait(made.divergence(held.lengths.length));
  made.dispose();
  return round(found);
}

const keep = rowKeeper("quality-sweep-distillation", ["before", ...Object.keys(recipes)]);
const rows = [{ id: "before", steps: 0, heldOut: await heldOut() }];
keep(rows[0]);
say(JSON.stringify(rows[0]));
for (const [id, { from, rate }] of wanted) {
  const text = await textOf(from, steps * window, window);
  const start = performance.now();
  const trained = await distiller(text, { rate, steps });
  const losses = [];
  for (let i = 0; i < steps; i++) losses.push(await wait(trained.step(true)));
  const seconds = Math.round((performance.now() - start) / 1e3);
  const state = trained.state();
  trained.dispose();
  const last = losses.slice(-Math.ceil(steps / 10));
  const calibration = round(last.reduce((sum, loss) => sum + loss, 0) / last.length);
  const row = { id, steps, heldOut: await heldOut(state), calibration, seconds };
  say(JSON.stringify(row));
  keep(row);
  rows.push(row);
}
publish(rows, values.json);
