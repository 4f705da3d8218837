#!/usr/bin/env node
// npm run bench:report: renders the tables of bench/results/ into docs/performance.md and its plots.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { barPlot, linePlot } from "../dist/cli/svg-plot.js";
import { speculationDoc } from "./speculation/report.mjs";

const root = path.resolve(import.meta.dirname, "..");
const docs = path.join(root, "docs");
const suites = ["peers", "decode", "speculation", "gemm", "attention", "crowd"];

// The saved tables of a suite, best level first and of a level the newest; plots and the README show the first.
const levels = ["avx512-amx", "avx512", "avx512-vnni", "avx512-base", "avx2-vnni", "avx2", "ref"];
const saved = path.join(root, "bench/results");
const load = (suite) =>
  readdirSync(saved)
    .filter((file) => file.startsWith(`${suite}-`) && file.endsWith(".json"))
    .map((file) => JSON.parse(readFileSync(path.join(saved, file), "utf8")))
    .filter((table) => table.suite === suite)
    .sort((a, b) => levels.indexOf(a.machine.isa) - levels.indexOf(b.machine.isa) || b.date.localeCompare(a.date));
const tables = Object.fromEntries(suites.map((suite) => [suite, load(suite)]));
const results = Object.fromEntries(suites.map((suite) => [suite, tables[suite][0]]));

const columns = ["value", "unit", "baseline", "ratio", "limit", "fraction"];

function table({ rows }, keep = () => true) {
  const shown = rows.filter(({ id }) => keep(id));
  const used = columns.filter((column) => shown.some((row) => row[column] !== undefined));
  return [
    `| id | ${used.join(" | ")} |`,
    `|---|${used.map(() => "---").join("|")}|`,
    ...shown.map((row) => `| ${row.id} | ${used.map((column) => row[column] ?? "").join(" | ")} |`),
  ].join("\n");
}

function section(suite, title, text, keep) {
  if (tables[suite].length === 0) return "";
  const parts = tables[suite].map((found) => {
    const { cpu, cores, isa, bandwidthGBps } = found.machine;
    return `\`${found.command}\`, ${found.date}, ${cpu}, ${cores} cores, level ${isa}, ${bandwidthGBps} GB/s, Node ${found.node}.

${table(found, keep)}

`;
  });
  return `## ${title}

${text}

${parts.join("")}`;
}

const plots = {};
if (results.decode) {
  const curves = ["smollm2", "tl-q2"].map((name) => ({
    name,
    points: results.decode.rows
      .filter(({ id }) => id.startsWith(`decode/${name}/T`))
      .map(({ id, value }) => [Number(id.split("/T")[1]), value]),
  }));
  const shown = curves.filter(({ points }) => points.length > 1);
  if (shown.length > 0) {
    plots["cost-curve.svg"] = linePlot("Cost of verifying n rows in one call", "rows", "calls of one row", [
      ...shown,
      { name: "one by one", points: [[1, 1], [12, 12]] }, // biome-ignore format: points
    ]);
  }
}
if (results.peers) {
  for (const what of ["decode", "prefill512"]) {
    const groups = results.peers.rows
      .filter(({ id }) => id.endsWith(`/${what}`))
      .map(({ id, value, baseline }) => ({ name: id.split("/")[1], values: [value, baseline] }));
    plots[`peers-${what}.svg`] = barPlot(what, "tokens/s", ["outrider", "node-llama-cpp"], groups);
  }
}
const image = (name, alt) => (plots[name] ? `![${alt}](${name})\n\n` : "");

mkdirSync(docs, { recursive: true });
if (results.speculation)
  writeFileSync(path.join(docs, "speculation.md"), speculationDoc(results.speculation, results.decode));
for (const [name, svg] of Object.entries(plots)) writeFileSync(path.join(docs, name), svg);
writeFileSync(
  path.join(docs, "performance.md"),
  `# Performance

Made by \`npm run bench:report\` from the tables in \`bench/results/\`, which \`npm run bench -- SUITE --save\` writes. Memory bandwidth and clock
of a virtual machine change within minutes: ratios and fractions are measured side by side and hold, absolute times of different
tables do not compare. \`value\` is ours; \`ratio\` says how many times better than \`baseline\` it is, \`fraction\` how near it comes to \`limit\`.

${section("peers", "Side by side with node-llama-cpp 3.22.1", "End to end through both public APIs, two processes that take turns, flash attention on, f16 KV cache; decoding is 128 tokens after 32, `decode-16k` is behind 16384 tokens.")}${image("peers-decode.svg", "decode, tokens per second")}${image("peers-prefill512.svg", "prefill, tokens per second")}${section("decode", "Whole models", "`T` rows are the cost of verifying so many rows of a tree in one call; the limit of decoding is reading the weights once per token.", (id) => !/\/T\d+$/.test(id) || /\/T(1|2|3|4|6|8|12|16|24|32)$/.test(id))}${image("cost-curve.svg", "cost curve")}${section("speculation", "Speculative decoding", "The default model, answers of up to 160 tokens without their prefill, the same text with drafts and without; the baseline is plain decoding in the same run. `accepted`: tokens that a step with drafts brought. `oracle` is bounded by five times the engine's time of a token over that of a step with drafts, in the same rounds. Every drafter: [speculation.md](speculation.md).", (id) => /^speculation\/(\w+\/auto(-t0.8)?|oracle\/g4|overhead|draft-model\/(best|\w+\/[\w-.]+))$/.test(id))}${section("gemm", "Weights times activations", "A cold matrix of 4096 x 14336. The baseline is the scalar reference. The limit of one row is reading the weights at the bandwidth measured beside it, of many rows the peak of multiply-accumulates of their kind.")}${section("attention", "Attention", "32 query heads on 8 KV heads of size 128, cold caches. The baseline of decoding is the scalar reference, its limit reading keys and values once; the baseline of trees is single-row calls.")}${section("crowd", "A crowded machine", "Two processes that decode at once, each with as many threads as the machine has; the baseline is half of what one has alone.")}`,
);
// The README's table is the same numbers.
const readme = path.join(root, "README.md");
if (results.peers) {
  const names = {
    smollm2: "SmolLM2 135M, Q4_1",
    "tl-q2": "1.1B, 2 bits / Q2_K",
    "tl-q4": "1.1B, 4 bits / Q4_0",
    "tl-q8": "1.1B, 8 bits / Q8_0",
    "tl-f16": "1.1B, F16",
    speculation: "SmolLM2 135M, Q4_1, drafting",
  };
  const kinds = {
    decode: "decode",
    prefill512: "prefill of 512",
    "decode-16k": "decode behind 16384",
    copy: "answers that copy",
    chat: "answers that talk",
  };
  const lines = results.peers.rows.map(({ id, value, baseline, ratio }) => {
    const [, model, what] = id.split("/");
    const speed = (tokens) => (tokens >= 100 ? tokens.toFixed(0) : tokens.toFixed(1));
    return `| ${names[model] ?? model}, ${kinds[what] ?? what} | ${speed(value)} | ${speed(baseline)} | ${ratio.toFixed(1)} |`;
  });
  const { cpu, cores } = results.peers.machine;
  const block = `<!-- performance: npm run bench:report -->
${cpu}, ${cores} cores, ${results.peers.date}; tokens/s, \`${results.peers.command}\`.

| | outrider | node-llama-cpp 3.22.1 | ratio |
|---|---|---|---|
${lines.join("\n")}
<!-- end -->`;
  const text = readFileSync(readme, "utf8");
  writeFileSync(readme, text.replace(/<!-- performance[\s\S]*?<!-- end -->/, block));
}
console.log(`docs/performance.md, ${Object.keys(plots).length} plots`);
