#!/usr/bin/env node
// npm run bench -- SUITE [--json] [--quick] [--threads N] [--model FILE] [--only NAME] [--save]
// Prints a table, or with --json one object
//   { suite, machine: { cpu, cores, isa, bandwidthGBps }, rows: [{ id, value, unit, baseline?, ratio?, limit?, fraction? }] }.
// value is the median of interleaved repetitions. ratio says how many times better than the baseline it is, and fraction how
// near it comes to the limit: 1 is the roofline.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { doctor } from "outrider";
import { processor } from "./machine.mjs";

const suites = {
  gemm: () => import("./kernels/gemm.mjs"),
  attention: () => import("./kernels/attention.mjs"),
  rounding: () => import("./kernels/rounding.mjs"),
  decode: () => import("./decode/decode.mjs"),
  crowd: () => import("./decode/crowd.mjs"),
  speculation: () => import("./speculation/speculation.mjs"),
  peers: () => import("./peers/peers.mjs"),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    threads: { type: "string", default: String(os.availableParallelism()) },
    model: { type: "string" },
    only: { type: "string" },
    save: { type: "boolean", default: false },
  },
});
const [suite] = positionals;
if (positionals.length !== 1 || !(suite in suites)) {
  console.error(`Expected one suite of ${Object.keys(suites).join(", ")}, received ${positionals.join(" ") || "none"}`);
  process.exit(2);
}
const threads = Number(values.threads);
if (!Number.isInteger(threads) || threads < 1) {
  console.error(`Expected a positive number for --threads, received ${values.threads}`);
  process.exit(2);
}

const round = (value) => (Number.isFinite(value) ? Number(value.toPrecision(5)) : value);

/** A row as it is printed: numbers of five digits, absent members left out. */
function tidy({ id, value, unit, baseline, limit, higherIsBetter }) {
  const better = (mine, other) => (higherIsBetter ? mine / other : other / mine);
  const row = { id, value: round(value), unit };
  if (baseline !== undefined) Object.assign(row, { baseline: round(baseline), ratio: round(better(value, baseline)) });
  if (limit !== undefined) Object.assign(row, { limit: round(limit), fraction: round(better(value, limit)) });
  return row;
}

const diagnosis = await doctor({ threads });
const { run } = await suites[suite]();
const { cpu, key } = processor();
const say = (text) => process.stderr.write(`${text}\n`);
const rows = (
  await run({
    quick: values.quick,
    threads,
    model: values.model,
    only: values.only,
    bandwidthGBps: diagnosis.bandwidthGBps,
    say,
  })
).map(tidy);
const report = {
  suite,
  machine: {
    cpu,
    cores: os.availableParallelism(),
    isa: diagnosis.level,
    bandwidthGBps: round(diagnosis.bandwidthGBps),
  },
  rows,
};
if (values.save) {
  // One table for each level and kind of processor. With --only, rows of the saved table that were not measured stay, under the date of the newest, but for those that what was measured has no more.
  const file = path.join(import.meta.dirname, "results", `${suite}-${diagnosis.level}-${key}.json`);
  const fresh = new Map(rows.map((row) => [row.id, row]));
  const gone = ({ id }) => id.startsWith(`${suite}/${values.only}/`) && !fresh.has(id);
  const saves = values.only && existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).rows : [];
  const before = saves.filter((row) => !gone(row));
  const kept = before.map((row) => fresh.get(row.id) ?? row);
  const added = rows.filter(({ id }) => !before.some((row) => row.id === id));
  const saved = {
    ...report,
    date: new Date().toISOString().slice(0, 10),
    command: `npm run bench -- ${suite} --save`,
    node: process.versions.node,
    rows: [...kept, ...added],
  };
  writeFileSync(file, `${JSON.stringify(saved, null, 2)}\n`);
  say(`saved ${path.relative(process.cwd(), file)}`);
}
if (values.json) {
  console.log(JSON.stringify(report, null, 2));
} else {
  const { cpu, cores, isa, bandwidthGBps } = report.machine;
  console.log(`${suite}: ${cpu}, ${cores} cores, ${isa}, ${bandwidthGBps} GB/s, Node ${process.versions.node}`);
  console.table(Object.fromEntries(rows.map(({ id, ...rest }) => [id, rest])));
}
