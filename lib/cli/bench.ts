// outrider bench: a model on this machine.

import type { Command } from "commander";
import { type Measurement, OutriderError } from "../index.ts";
import { count, generateOptions, loadOptions, number, withLoadOptions } from "./arguments.ts";
import { benchSpeculation, printSpeculation } from "./bench-speculation.ts";
import { interruptible } from "./interrupt.ts";
import { formatBytes, loadWithProgress } from "./output.ts";
import { readPrompts } from "./prompts-file.ts";

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

type Values = Record<string, unknown> & { model?: string; json?: boolean; speculation?: boolean; prompts?: string };

async function speculation(values: Values): Promise<void> {
  const {
    prompts,
    drafters,
    draftModel,
    rounds = 3,
  } = values as Values & {
    drafters?: string;
    draftModel?: string;
    rounds?: number;
  };
  if (prompts === undefined)
    throw new OutriderError("OUTRIDER_ARGUMENT", "Expected --prompts FILE beside --speculation, received none");
  if (rounds < 1) throw new OutriderError("OUTRIDER_ARGUMENT", "Expected at least one round for --rounds, received 0");
  const maxTokens = (values.maxTokens as number | undefined) ?? 128;
  if (maxTokens < 8)
    throw new OutriderError("OUTRIDER_ARGUMENT", `Expected at least 8 for --max-tokens, received ${maxTokens}`);
  const lines = await readPrompts(prompts);
  const signal = interruptible();
  await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal });
  await using draft =
    draftModel === undefined
      ? undefined
      : await loadWithProgress(draftModel, { ...loadOptions({ ...values, context: undefined }), signal });
  const names = (drafters ?? "auto").split(",").map((name) => name.trim());
  const options = { ...generateOptions(values), maxTokens, signal };
  const rows = await benchSpeculation(model, lines, names, draft, options, rounds);
  if (values.json) process.stdout.write(`${JSON.stringify({ model: model.info, prompts: lines.length, rows })}\n`);
  else printSpeculation(rows);
}

/** Adds the command. */
export function addBenchCommand(program: Command): void {
  const command = program
    .command("bench")
    .description("measure a model on this machine: tokens/s, the cost of several rows at once, the limit of memory")
    .option("--json", "print JSON")
    .option("--speculation", "measure instead what drafting brings on your own prompts")
    .option("--prompts <file>", "with --speculation: a prompt a line, or a .jsonl file of { prompt } or { messages }")
    .option("--drafters <names>", "with --speculation: some of auto, copy, ngram, suffix, recycle (default: auto)")
    .option("--draft-model <source>", "with --speculation: a smaller model that drafts")
    .option("--rounds <n>", "with --speculation: how often each is measured (default: 3)", count)
    .option("-n, --max-tokens <n>", "with --speculation: tokens of an answer at most (default: 128)", count)
    .option("-t, --temperature <x>", "with --speculation: 0 is greedy", number);
  withLoadOptions(command).action(async (values: Values) => {
    if (values.speculation) return speculation(values);
    const signal = interruptible();
    await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal });
    const found = await model.measure({ signal });
    if (values.json) process.stdout.write(`${JSON.stringify({ model: model.info, ...found })}\n`);
    else print(found, model.info.weightBytes);
  });
}
