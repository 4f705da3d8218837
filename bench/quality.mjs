#!/usr/bin/env node
// npm run quality [-- --only ID, again for more] [--json] [--keep FOLDER: the models that were made, and the text; what was ended goes on]
//
// What SmolLM2-135M-Instruct loses at few bits, by method: quantised from its GGUF by the defaults of quantizeModel(), with
// calibration text half of which is the model's own and half foreign, and measured against the GGUF on the windows of the golden
// perplexity. The model's own text is made once for all rows, and its seconds count for each that uses it. Where both are wanted,
// distillation goes on from the blocks of the row before it, whose seconds count for it too.
// Embeddings stay f16, but for `default`: the table is about the 210 matrices of the blocks. Float activations; `perplexityInt8` is what the integer
// kernels make of the same weights. Rows: { id, bytes, bitsPerWeight, perplexity, perplexityInt8, kl, top1, seconds }. Finished rows
// are kept in bench/results/quality.json with date and commit, and docs/quality.md shows them all. `default` is the model that outrider
// comes with, as it lies there. Needs the folder of shared models.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { compareModels, inspect, load, quantizeModel } from "outrider";
import { spreadOrder } from "../dist/quantize/calibration.js";
import { rowKeeper } from "./kept-rows.mjs";
import { report } from "./quality-report.mjs";
import { foreign, golden, say, sourcePath, text } from "./quality-setup.mjs";

const steps = {
  rtn: { method: "rtn", blockEpochs: 0, distillSteps: 0 },
  gptq: { method: "gptq", blockEpochs: 0, distillSteps: 0 },
  decoupleq: { method: "decoupleq", blockEpochs: 0, distillSteps: 0 },
  block: { method: "decoupleq", distillSteps: 0 },
  distilled: { method: "decoupleq" },
};
const shapes = { "w2-g64": [2, 64], "w2-g32": [2, 32], "w2-g16": [2, 16], "w3-g64": [3, 64], "w4-g64": [4, 64] };
const tables = 49152 * 576 * 2; // f16 embeddings
const plans = [
  ...Object.entries(shapes).flatMap(([shape, [bits, group]]) =>
    Object.entries(steps).map(([step, options]) => ({ id: `${shape}/${step}`, options: { bits, group, ...options } })),
  ),
  ...[32, 40, 51].map((mebibytes) => ({
    id: `mixed-${mebibytes}MiB`,
    options: { budget: mebibytes * 2 ** 20 + tables },
  })),
  { id: "default" }, // as it lies in models/
];

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    json: { type: "boolean", default: false },
    keep: { type: "string" },
  },
});
const asked = (id) => values.only?.some((only) => id === only || id.startsWith(`${only}/`)) ?? true;
const wanted = plans.filter(({ id }) => asked(id));
if (wanted.length === 0) throw new Error(`Expected one of ${plans.map(({ id }) => id).join(", ")} for --only`);

const round = (value) => Number(value.toPrecision(5));

const keep = rowKeeper(
  "quality",
  plans.map(({ id }) => id),
);
const scoring = { window: golden.window, maxWindows: golden.windows };

const work = mkdtempSync(path.join(os.tmpdir(), "outrider-quality-"));
process.once("exit", () => rmSync(work, { recursive: true, force: true }));

/** What a run with the defaults makes up as its calibration text, as a file, and the seconds of that. */
async function ownText() {
  const file = path.join(values.keep ?? work, "own.jsonl");
  const time = `${file}.seconds`;
  if (existsSync(time)) return { file, seconds: Number(readFileSync(time, "utf8")) };
  const started = performance.now();
  const out = path.join(work, "text");
  const made = new AbortController();
  const onProgress = ({ phase, done, total }) => {
    if (phase === "blocks") made.abort();
    else if (done % 32 === 0) say(`text: ${done} of ${total}`);
  };
  const options = { out, calibration: ["self", foreign], method: "gptq", embeddings: 16 };
  await quantizeModel(sourcePath, { ...options, signal: made.signal, onProgress }).catch((error) => {
    if (!made.signal.aborted) throw error;
  });
  const [own] = JSON.parse(readFileSync(path.join(out, ".quantize/calibration.json"), "utf8"));
  // Windows of a file are taken in an order spread over it; here in the order in which they were made, as a run with "self" takes them.
  const lines = [];
  for (const [i, at] of spreadOrder(own.length).entries()) lines[at] = JSON.stringify({ tokens: own[i] });
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, lines.join("\n"));
  const seconds = (performance.now() - started) / 1e3;
  writeFileSync(time, String(seconds));
  return { file, seconds };
}

const learns = wanted.some(({ options }) => options && options.method !== "rtn");
const own = learns ? await ownText() : { file: "self", seconds: 0 };
const original = await load(sourcePath, { activation: "float" });
const made = [];
const fresh = () => mkdtempSync(path.join(work, "model-"));
let blocks; // an unfinished run with all its blocks, of the last row

/** Quantises as a row says: the folder, and what it took. */
async function quantised(id, options) {
  const shape = id.split("/")[0];
  const earlier = id === `${shape}/distilled` && blocks?.shape === shape ? blocks : undefined;
  const goesOn = id === `${shape}/block` && wanted.some((other) => other.id === `${shape}/distilled`);
  const out = earlier?.folder ?? (values.keep ? path.join(values.keep, id.replace("/", "-")) : fresh());
  // A run that was ended goes on; what it took until then counts, and what was before it.
  const clock = `${out}.seconds`;
  const ended = !earlier && existsSync(path.join(out, ".quantize/run.json")) && existsSync(clock);
  const forText = options.method === "rtn" ? 0 : own.seconds;
  const before = ended ? Number(readFileSync(clock, "utf8")) : (earlier?.seconds ?? forText);
  const started = performance.now();
  let last = "";
  const onProgress = ({ phase, done, total, secondsLeft }) => {
    if (phase === "files" && done === 0 && goesOn) {
      blocks = { shape, folder: values.keep ? path.join(values.keep, `${shape}-distilled`) : fresh() };
      cpSync(path.join(out, ".quantize"), path.join(blocks.folder, ".quantize"), { recursive: true });
    }
    const step = `${phase} ${10 * Math.floor((10 * done) / total)} %`;
    if (step !== last) say(`${id}: ${step}, ${Math.round(secondsLeft ?? 0)} s left`);
    last = step;
    if (values.keep) writeFileSync(clock, String(before + (performance.now() - started) / 1e3));
  };
  const result = await quantizeModel(sourcePath, {
    ...{ out, embeddings: 16, measure: false, calibration: [own.file, foreign], ...options },
    ...{ resume: earlier !== undefined || ended, onProgress },
  });
  rmSync(clock, { force: true });
  const seconds = Math.round(before + result.seconds);
  if (goesOn) {
    blocks.seconds = seconds;
    if (values.keep) writeFileSync(`${blocks.folder}.seconds`, String(seconds));
  }
  return { out, seconds, bytes: result.plan.bytes.blocks, bitsPerWeight: result.bitsPerWeight };
}

/** The model that comes with outrider, as it lies there. */
async function bundled() {
  const matrices = (await inspect(sourcePath)).tensors.filter(
    ({ name, shape }) => /^blk\./.test(name) && shape.length === 2,
  );
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);
  const { path: out, tensors } = await inspect();
  const stored = tensors.filter(({ name }) => /^model\.layers\..*\.(codes|scale|zero)$/.test(name));
  const bytes = stored.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { out, bytes, bitsPerWeight: (8 * bytes) / weights };
}

for (const { id, options } of wanted) {
  const { out, seconds, bytes, bitsPerWeight } = options ? await quantised(id, options) : await bundled();
  const exact = await load(out, { activation: "float" });
  const found = await compareModels(original, exact, text, scoring);
  await exact.dispose();
  const rounded = await load(out);
  const { perplexity: perplexityInt8 } = await rounded.perplexity(text, scoring);
  await rounded.dispose();
  const row = {
    id,
    bytes,
    bitsPerWeight,
    perplexity: round(found.perplexity[1]),
    perplexityInt8: round(perplexityInt8),
    kl: round(found.kl.mean),
    top1: round(found.top1),
    seconds,
  };
  made.push(row);
  keep(row, { float: round(found.perplexity[0]), windows: golden.windows, window: golden.window });
  if (options && !values.keep) rmSync(out, { recursive: true, force: true });
}
await original.dispose();

report();
if (values.json) console.log(JSON.stringify(made, null, 2));
else console.table(Object.fromEntries(made.map(({ id, ...rest }) => [id, rest])));
