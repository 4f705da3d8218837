#!/usr/bin/env node
// npm run quality:memory [-- --blocks 2] [--json]
//
// The memory that quantising a model of 1.1 billion parameters takes: one of that shape with random f16 weights (2.2 GB, written once to
// the cache folder), to 2 bits in groups of 64 by the defaults. Two runs, each in a process of its own, as all of it would take hours:
// `blocks` ends in the one behind --blocks, `distillation` rounds all blocks to nearest and then trains two steps; later blocks and steps
// take what the first take, and each stage frees its memory before the next. Rows { id, anonymous, resident, seconds }: the most MiB of memory of its own, sampled every 20 ms, and of all pages,
// those of the mapped source included, which the kernel takes back when it needs them. They are kept in bench/results/quality-memory.json, and docs/quality.md shows them.
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { quantizeModel } from "outrider";
import { rowKeeper } from "./kept-rows.mjs";
import { publish } from "./quality-report.mjs";
import { ggufModel, llama1b } from "./shapes/llama.mjs";

const { values } = parseArgs({
  options: {
    blocks: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
    measure: { type: "string" }, // one run, in a process of its own
  },
});

/** Most of RssAnon, in KiB, sampled by a thread that no work of this one holds up. */
function sampler() {
  const most = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { readFileSync } = require("node:fs");
    const most = require("node:worker_threads").workerData;
    setInterval(() => {
      const now = Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
      if (now > Atomics.load(most, 0)) Atomics.store(most, 0, now);
    }, 20);`;
  const worker = new Worker(code, { eval: true, workerData: most });
  return { most: () => Atomics.load(most, 0), end: () => worker.terminate() };
}

/** Enough text of the vocabulary of the model: bytes. */
function calibration(folder) {
  const file = path.join(folder, "text.txt");
  const line = readFileSync(path.resolve(import.meta.dirname, "../README.md"), "utf8");
  writeFileSync(file, line.repeat(Math.ceil(2e6 / line.length)));
  return file;
}

async function measured(id) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "outrider-memory-"));
  const memory = sampler();
  const start = performance.now();
  const end = new AbortController();
  const onProgress = ({ phase, done, total }) => {
    process.stderr.write(`${id}: ${phase} ${done} of ${total}\n`);
    if (id === "blocks" && phase === "blocks" && done > 7 * Number(values.blocks)) end.abort();
  };
  const short = { method: "rtn", blockEpochs: 0, distillSteps: 2, distillTokens: 65536 };
  try {
    await quantizeModel(ggufModel(llama1b, "f16"), {
      ...{
        out: path.join(folder, "out"),
        calibration: [calibration(folder)],
        measure: false,
        signal: end.signal,
        onProgress,
      },
      ...(id === "blocks" ? {} : short),
    });
  } catch (error) {
    if (!end.signal.aborted) throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const resident = Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
  const row = { id, anonymous: Math.round(memory.most() / 1024), resident: Math.round(resident / 1024) };
  await memory.end();
  process.send({ ...row, seconds: Math.round((performance.now() - start) / 1e3) });
}

if (values.measure) {
  await measured(values.measure);
} else {
  ggufModel(llama1b, "f16");
  const rows = [];
  const ids = ["blocks", "distillation"];
  const keep = rowKeeper("quality-memory", ids);
  for (const id of ids) {
    const child = fork(import.meta.filename, ["--measure", id, "--blocks", values.blocks]);
    const row = await new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", (code) => reject(new Error(`The run of ${id} ended with ${code}`)));
    });
    rows.push(row);
    keep(row);
  }
  publish(rows, values.json);
}
