// outrider compare.

import { rename, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { type Comparison, compareModels, type Model, OutriderError } from "../index.ts";
import { count, loadOptions, withLoadOptions } from "./arguments.ts";
import { interruptible } from "./interrupt.ts";
import { formatBytes, loadWithProgress, Progress } from "./output.ts";
import { readText } from "./read-text.ts";
import { linePlot } from "./svg-plot.ts";

interface Values {
  text: string;
  window?: number;
  maxWindows?: number;
  plot?: string;
  json?: boolean;
}

type Speed = { prefill: number; decode: number };

function print(names: string[], found: Comparison, speeds: Speed[]): void {
  const rows: [string, string, string][] = [
    ["", names[0], names[1]],
    ["perplexity", found.perplexity[0].toFixed(4), found.perplexity[1].toFixed(4)],
    ["weights in memory", formatBytes(found.weightBytes[0]), formatBytes(found.weightBytes[1])],
    ["prefill, tokens/s", speeds[0].prefill.toFixed(0), speeds[1].prefill.toFixed(0)],
    ["decode, tokens/s", speeds[0].decode.toFixed(1), speeds[1].decode.toFixed(1)],
  ];
  const width = Math.max(...rows.map(([, a]) => a.length)) + 2;
  for (const [name, a, b] of rows) process.stdout.write(`${name.padEnd(18)} ${a.padEnd(width)} ${b}\n`);
  process.stdout.write(
    `\nKL divergence ${found.kl.mean.toFixed(4)} nats, 99th percentile ${found.kl.p99.toFixed(4)}\n` +
      `same likeliest token ${(100 * found.top1).toFixed(2)} % of ${found.tokens} positions\n`,
  );
}

/** Percentiles of the divergence and the two models' perplexities. */
function plotOf([first, second]: string[], { kl, perplexity, tokens }: Comparison): string {
  const points = kl.percentiles.map((value, p) => [p, value] as const);
  const mean = kl.percentiles.map((_, p) => [p, kl.mean] as const);
  return linePlot(
    `KL divergence of ${second} from ${first}: perplexity ${perplexity[0].toFixed(2)} and ${perplexity[1].toFixed(2)}`,
    `percentile of ${tokens} positions`,
    "nats",
    [
      { name: "positions, sorted", points: points.slice(0, 100) },
      { name: `mean, ${kl.mean.toFixed(4)}`, points: mean.slice(0, 100) },
    ],
  );
}

async function writePlot(file: string, svg: string): Promise<void> {
  try {
    await writeFile(`${file}.tmp`, svg);
    await rename(`${file}.tmp`, file);
  } catch (error) {
    throw new OutriderError("OUTRIDER_IO", `Cannot write ${file}: ${(error as Error).message}`);
  }
}

async function speedOf(model: Model, signal: AbortSignal): Promise<Speed> {
  const found = await model.measure({ rows: [1], repetitions: 3, signal });
  return { prefill: found.prefillTokensPerSecond, decode: found.decodeTokensPerSecond };
}

async function compareCommand(first: string, second: string, values: Values & Record<string, unknown>): Promise<void> {
  const signal = interruptible();
  const text = await readText(values.text);
  const options = { ...loadOptions(values), signal };
  await using a = await loadWithProgress(first, options);
  await using b = await loadWithProgress(second, options);
  const progress = new Progress();
  const onProgress = ({ done, total }: { done: number; total: number }) => progress.update("Comparing", done, total);
  const { window, maxWindows } = values;
  const found = await compareModels(a, b, text, { window, maxWindows, signal, onProgress }).finally(() =>
    progress.end(),
  );
  const speeds = [await speedOf(a, signal), await speedOf(b, signal)];
  const names = [first, second].map((source) => path.basename(source));
  if (values.plot) await writePlot(values.plot, plotOf(names, found));
  if (values.json) process.stdout.write(`${JSON.stringify({ models: [first, second], ...found, speeds })}\n`);
  else print([first, second], found, speeds);
}

/** Adds the command. */
export function addCompareCommand(program: Command): void {
  withLoadOptions(program.command("compare"))
    .description("show what a model lost against another: perplexity, KL divergence, likeliest tokens, bytes, speed")
    .argument("<original>", "folder, .gguf file or hub id")
    .argument("<other>", "folder, .gguf file or hub id")
    .requiredOption("--text <file>", "text to compare on")
    .option("--window <tokens>", "tokens per window", count)
    .option("--max-windows <n>", "windows to compare", count)
    .option("--plot <file>", "write the percentiles of the divergence as an SVG")
    .option("--json", "print JSON")
    .action(compareCommand);
}
