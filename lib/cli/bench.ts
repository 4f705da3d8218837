// outrider bench: a model on this machine.

import type { Command } from "commander";
import type { Measurement } from "../index.ts";
import { loadOptions, withLoadOptions } from "./arguments.ts";
import { interruptible } from "./interrupt.ts";
import { formatBytes, loadWithProgress } from "./output.ts";

function print(found: Measurement, weightBytes: number): void {
  const perToken = formatBytes(weightBytes);
  const rows: [string, string][] = [
    ["prefill", `${found.prefillTokensPerSecond.toFixed(0)} tokens/s`],
    ["decode", `${found.decodeTokensPerSecond.toFixed(1)} tokens/s`],
    [
      "limit",
      `${found.boundTokensPerSecond.toFixed(0)} tokens/s: ${perToken} of weights per token at ${found.bandwidthGBps.toFixed(1)} GB/s; reached ${(found.boundFraction * 100).toFixed(0)} %`,
    ],
    ["overhead", `${found.overheadMicroseconds.toFixed(0)} us a step outside kernels`],
    ["kernels", Object.entries(found.kernels).map(([op, level]) => `${op} ${level}`).join(", ")], // biome-ignore format: one line
  ];
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(10)} ${value}\n`);
  process.stdout.write("\nrows   ms a call   cost in single rows\n");
  for (const { rows: count, seconds, cost } of found.costCurve) {
    const bar = "#".repeat(Math.round(cost * 4));
    process.stdout.write(
      `${String(count).padStart(4)}   ${(seconds * 1e3).toFixed(2).padStart(9)}   ${cost.toFixed(2).padStart(6)} ${bar}\n`,
    );
  }
}

/** Adds the command. */
export function addBenchCommand(program: Command): void {
  const command = program
    .command("bench")
    .description("measure a model on this machine: tokens/s, the cost of several rows at once, the limit of memory")
    .option("--json", "print JSON");
  withLoadOptions(command).action(async (values: Record<string, unknown> & { model?: string; json?: boolean }) => {
    const signal = interruptible();
    await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal });
    const found = await model.measure({ signal });
    if (values.json) process.stdout.write(`${JSON.stringify({ model: model.info, ...found })}\n`);
    else print(found, model.info.weightBytes);
  });
}
