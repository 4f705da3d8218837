// docs/quality.md from the results of `npm run quality`, `quality:memory`, `quality:prompts` and the two sweeps.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { readResults } from "./kept-rows.mjs";

const root = path.resolve(import.meta.dirname, "..");

// llama.cpp's quantisers on the same weights, windows and protocol, with an importance matrix: their figures.
const theirs = [
  ["IQ2_XS", 2.36, 200.4, 1.47],
  ["IQ2_M", 2.69, 129.0, 1.03],
  ["Q2_K", 2.93, 94.8, 0.77],
  ["IQ3_XXS", 3.05, 80.2, 0.56],
  ["Q3_K_S", 3.44, 65.7, 0.39],
  ["IQ3_S", 3.47, 62.8, 0.28],
  ["Q4_K_S", 4.53, 48.6, 0.006],
];

const quote = (text) => text.trim().split("\n").map((line) => `> ${line}`.trimEnd()).join("\n"); // biome-ignore format: one line

function conversations({ answers, sampling, cpu, date }) {
  const parts = answers.map(
    ({ prompt, float, small }) =>
      `**${prompt}**\n\nOriginal:\n\n${quote(float)}\n\nDefault model:\n\n${quote(small)}\n`,
  );
  return `
## Ten prompts

The original in float arithmetic and the default model as \`load()\` runs it, each asked the same in a conversation of its own, sampled with
${Object.entries(sampling)
  .map(([name, value]) => `\`${name}: ${value}\``)
  .join(", ")}. Made by \`npm run quality:prompts\` (${cpu}, ${date}); nothing was picked.

${parts.join("\n")}`;
}

/** Rows of a sweep next to the first, which each differs from in one thing. */
const sweep = (rows, columns) => {
  const [first] = rows;
  const line = (row) =>
    `| ${row.id} | ${row.heldOut} | ${(row.heldOut / first.heldOut).toFixed(3)} | ${columns.map((column) => row[column] ?? "").join(" | ")} | ${row.date}, ${row.commit} |`;
  return `| recipe | on unseen text | of the first | ${columns.join(" | ")} | measured |
|---|---|---|${columns.map(() => "---|").join("")}---|
${rows.map(line).join("\n")}
`;
};

const blockSweep = ({ rows }) => `
## Which calibration, which training

The first ${rows[0].blocks} blocks at 2 bits in groups of 64 by several recipes, each of which differs from the first in what its name says: half the model's own
text, half foreign (speeches), 32768 tokens in windows of 512, two epochs at a rate of 0.005, matrices solved beside what the original
computes. Measured is the mean of |x - x*|^2 / |x*|^2 over tokens that no recipe has seen (eight windows of Moby-Dick behind those of the
table above), x* what the original carries behind these blocks; \`calibration\` is the same on the tokens of the recipe. Made by \`npm run quality:sweep\`.

${sweep(rows, ["calibration", "tokens", "secondsPerBlock"])}`;

const distillationSweep = ({ rows }) => `
## Which distillation

All blocks as by default, then ${rows.at(-1).steps} steps of 512 tokens end to end by several recipes: the KL divergence from the original in nats on the same unseen
text, \`before\` without any step, and \`calibration\`, the mean loss of the last tenth of the steps. The first recipe is half own, half foreign text at a
rate of 0.001. A rate of 0.005 is too fast; what the text is made of matters less here than for the blocks. Made by \`npm run quality:sweep-distillation\`.

${sweep(rows, ["calibration", "steps", "seconds"])}`;

const memory = ({ rows }) => `
## Memory

Of quantising a model of 1.1 billion parameters, random weights in f16 (2.2 GB, mapped), to 2 bits in groups of 64 by the defaults: the most MiB of memory of its own in the stage that trains blocks and in the one
that distils, and with the pages of the file that were in memory. Made by \`npm run quality:memory -- --blocks 1\`, which says what it leaves out.

| stage | MiB | with mapped pages | measured |
|---|---|---|---|
${rows.map((row) => `| ${row.id} | ${row.anonymous} | ${row.resident} | ${row.date}, ${row.commit} |`).join("\n")}
`;

/** Shows the rows of a measurement, and all that are kept in docs/quality.md. */
export function publish(rows, json) {
  report();
  if (json) console.log(JSON.stringify(rows, null, 2));
  else console.table(rows);
}

/** Writes docs/quality.md. */
export function report() {
  const { rows, float, windows, window } = readResults("quality");
  const prompts = readResults("quality-prompts");
  const [blocks, distillation] = ["quality-sweep", "quality-sweep-distillation"].map(readResults);
  const taken = readResults("quality-memory");
  const line = (row) =>
    `| ${row.id} | ${(row.bytes / 2 ** 20).toFixed(1)} | ${row.bitsPerWeight.toFixed(2)} | ${row.perplexity} | ${row.perplexityInt8} | ${row.kl} | ${(100 * row.top1).toFixed(1)} | ${row.seconds ?? ""} | ${row.date}, ${row.commit} |`;
  writeFileSync(
    path.join(root, "docs/quality.md"),
    `# Quality

What SmolLM2-135M-Instruct loses at few bits, against its Q4_1 GGUF in float arithmetic, which all of this is made from. Made by \`npm run quality\`, which says how it measures; finished rows are in
\`bench/results/quality.json\`. Perplexity on ${windows} windows of ${window} tokens of Moby-Dick; of the weights quantised from, ${float}. KL divergence
from them in nats, and how often the likeliest token is the same. Bytes are those of the 210 matrices of the blocks, scales and zeros
counted; seconds those of quantising on two cores, of several machines, some of which had other work beside it. Rows \`default\`: the model that outrider comes with, whose embedding has 4 bits; in the
others it stays f16.

| id | MiB | bits a weight | perplexity | with int8 activations | KL | top-1 % | seconds | measured |
|---|---|---|---|---|---|---|---|---|
${rows.map(line).join("\n")}

llama.cpp's quantisers on the same weights, windows and protocol, with an importance matrix (their figures, not ours):

| type | bits a weight | perplexity | KL |
|---|---|---|---|
${theirs.map(([name, bits, perplexity, kl]) => `| ${name} | ${bits} | ${perplexity} | ${kl} |`).join("\n")}

Below 4.1 bits a weight the mixed plans and \`w2-g64/distilled\` lose less than the line through these points. At 4.5 bits Q4_K_S loses
less than \`w4-g64\`: the weights quantised from lie on a grid of 4 bits in groups of 32 already (Q4_1), which its scales of such groups nearly
give back, while groups of 64 join two of them.
${blocks ? blockSweep(blocks) : ""}${distillation ? distillationSweep(distillation) : ""}${taken ? memory(taken) : ""}${prompts ? conversations(prompts) : ""}`,
  );
}
