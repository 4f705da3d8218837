// docs/quality.md from the results of `npm run quality` and `npm run quality:prompts`.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
const read = (name) => {
  const file = path.join(root, "bench/results", name);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
};

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

/** Writes docs/quality.md. */
export function report() {
  const { rows, float, windows, window } = read("quality.json");
  const prompts = read("quality-prompts.json");
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
${prompts ? conversations(prompts) : ""}`,
  );
}
