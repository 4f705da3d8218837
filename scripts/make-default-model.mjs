#!/usr/bin/env node
// Makes the default model: SmolLM2-135M-Instruct within 64 MiB on disk, as a package.
//   node scripts/make-default-model.mjs SOURCE --foreign TEXT [--out models/smollm2-135m-instruct] [--work build/default-model]
// SOURCE is the folder or GGUF file of the original, TEXT a file of foreign calibration text, a third of all; the rest the model makes up,
// half of it as conversations. An interrupted run goes on where it was when called again.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { quantizeModel } from "outrider";
import { root } from "./native-flags.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    foreign: { type: "string" },
    out: { type: "string", default: path.join(root, "models/smollm2-135m-instruct") },
    work: { type: "string", default: path.join(root, "build/default-model") },
  },
});
const [source] = positionals;
if (!source || !values.foreign) {
  console.error("Usage: node scripts/make-default-model.mjs SOURCE --foreign TEXT [--out FOLDER] [--work FOLDER]");
  process.exit(2);
}
const limit = 64 * 2 ** 20;
const { work } = values;

let last = "";
const onProgress = ({ phase, done, total, secondsLeft }) => {
  const step = `${phase} ${5 * Math.floor((20 * done) / total)} %`;
  if (step !== last) console.error(`${step}, ${Math.round(secondsLeft ?? 0)} s left`);
  last = step;
};
const model = path.join(work, "model");
const begun = fs.existsSync(path.join(model, ".quantize"));
if (begun || !fs.existsSync(path.join(model, "README.md"))) {
  const { seconds } = await quantizeModel(source, {
    // What is left of 64 MiB is for the tokenizer, norms and the package's own files.
    ...{ out: model, budget: 62 * 2 ** 20, embeddings: 4, distillSteps: 512 },
    ...{ calibration: ["chat", "self", values.foreign], resume: begun, onProgress },
  });
  console.error(`${Math.round(seconds)} s`);
}

const packed = path.join(work, "package");
fs.rmSync(packed, { recursive: true, force: true });
fs.cpSync(model, packed, { recursive: true });
fs.copyFileSync(path.join(root, "LICENSE"), path.join(packed, "LICENSE"));
const manifest = {
  name: "outrider-smollm2-135m-instruct",
  version: "0.1.0",
  description: "SmolLM2-135M-Instruct in few bits: the model outrider loads when no other is named",
  license: "Apache-2.0",
  files: ["*.json", "*.safetensors", "*.jinja", "README.md", "LICENSE"],
};
fs.writeFileSync(path.join(packed, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
const card = fs.readFileSync(path.join(model, "README.md"), "utf8").replace(/^# .*\n/, "");
fs.writeFileSync(
  path.join(packed, "README.md"),
  `# SmolLM2-135M-Instruct, quantised

The model that \`load()\` opens when no other is named: SmolLM2-135M-Instruct by Hugging Face (arXiv:2502.02737, Apache-2.0), a model of 135
million parameters for short answers in English. It makes things up; check what it says. What it loses against the file it was made from,
with ten answers of both side by side, is in outrider's docs/quality.md. Made by \`node scripts/make-default-model.mjs\`.
${card}`,
);

const names = fs.readdirSync(packed);
const bytes = names.reduce((sum, name) => sum + fs.statSync(path.join(packed, name)).size, 0);
console.error(`${bytes} bytes in ${names.length} files`);
if (bytes > limit) {
  console.error(`Expected at most ${limit} bytes; the model is in ${model}`);
  process.exit(1);
}
fs.rmSync(values.out, { recursive: true, force: true });
fs.cpSync(packed, values.out, { recursive: true });
console.log(values.out);
