// outrider quantize.

import type { Command } from "commander";
import {
  type QuantizedModel,
  type QuantizeModelOptions,
  type QuantizePlan,
  type QuantizeProgress,
  quantizeModel,
} from "../index.ts";
import { bytes, count } from "./arguments.ts";
import { interruptible } from "./interrupt.ts";
import { formatBytes, Progress } from "./output.ts";

interface Values {
  out: string;
  bits?: number;
  group?: number;
  budget?: number;
  method?: string;
  rounds?: number;
  blockEpochs?: number;
  distillSteps?: number;
  distillTokens?: number;
  embeddings?: string;
  calibration?: string[];
  tokens?: number;
  window?: number;
  seed?: number;
  threads?: number;
  measure?: boolean;
  resume?: boolean;
  json?: boolean;
}

const labels = {
  calibration: "Calibration text",
  plan: "Survey",
  blocks: "Quantising",
  distillation: "Distilling",
  files: "Writing",
  measurement: "Measuring",
};

function left(seconds: number | undefined): string {
  if (seconds === undefined) return "";
  return seconds < 90 ? `${Math.round(seconds)} s left` : `${Math.round(seconds / 60)} min left`;
}

/** What each part of the blocks lost, over all of them. */
function lossTable({ blocks, settings }: QuantizedModel): string {
  const names = Object.keys(blocks[0].parts) as (keyof (typeof blocks)[0]["parts"])[];
  const mean = (name: (typeof names)[number], which: "loss" | "rounded") =>
    (100 * blocks.reduce((sum, block) => sum + block.parts[name][which], 0)) / blocks.length;
  const lines = names.map(
    (name) =>
      `  ${name.padEnd(5)} ${mean(name, "loss").toFixed(3).padStart(8)} ${mean(name, "rounded").toFixed(3).padStart(9)}`,
  );
  const errors = blocks.flatMap(({ error }) => (error ? [error] : []));
  const trained = errors.reduce((sum, { before, after }) => sum + after / before / errors.length, 0);
  const last =
    errors.length > 0
      ? [`  training brought the error of blocks to ${(100 * trained).toFixed(0)} %`]
      : settings.blockEpochs > 0
        ? ["  blocks of this family are not trained: there is no backward pass for them"]
        : [];
  return ["  part    lost %  rounded %", ...lines, ...last].join("\n");
}

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

/** How many matrices of each part are stored in each way, and what they take. */
function planTable({ blocks, bitsPerWeight, bytes }: QuantizePlan): string {
  const names = Object.keys(blocks[0]) as (keyof (typeof blocks)[0])[];
  const all = blocks.flatMap((block) => Object.values(block));
  const key = ({ bits, group }: (typeof all)[number]) => `${bits} bits g${group}`;
  const kinds = [...new Set(all.toSorted((a, b) => a.bits - b.bits || b.group - a.group).map(key))];
  const width = Math.max(...kinds.map((kind) => kind.length)) + 2;
  const count = (name: (typeof names)[number], kind: string) =>
    String(blocks.filter((block) => key(block[name]) === kind).length).padStart(width);
  const lines = names.map(
    (name) =>
      `  ${name.padEnd(5)}${kinds.map((kind) => count(name, kind)).join("")}${mebibytes(blocks.reduce((sum, block) => sum + block[name].bytes, 0)).padStart(8)}`,
  );
  return [
    `  part ${kinds.map((kind) => kind.padStart(width)).join("")}     MiB`,
    ...lines,
    `  blocks ${mebibytes(bytes.blocks)} MiB (${bitsPerWeight.toFixed(2)} bits a weight), embeddings ${mebibytes(bytes.tables)} MiB`,
  ].join("\n");
}

async function quantizeCommand(source: string | undefined, values: Values): Promise<void> {
  const progress = new Progress();
  const onProgress = ({ phase, done, total, secondsLeft }: QuantizeProgress) =>
    progress.update(labels[phase], done, total, left(secondsLeft));
  const onPlan = (plan: QuantizePlan) => {
    progress.end();
    process.stderr.write(`${planTable(plan)}\n`);
  };
  const { json, embeddings, ...rest } = values;
  const options = {
    ...rest,
    ...(embeddings === undefined ? {} : { embeddings: embeddings === "f16" ? 16 : count(embeddings) }),
  };
  const signal = interruptible();
  const model = await quantizeModel(source, { ...options, signal, onProgress, onPlan } as QuantizeModelOptions).finally(
    () => progress.end(),
  );
  if (json) {
    process.stdout.write(`${JSON.stringify(model)}\n`);
    return;
  }
  const { divergence, measured } = model;
  const distilled = divergence
    ? `\ndistillation brought the KL divergence from ${divergence.before.toFixed(4)} to ${divergence.after.toFixed(4)} nats a token\n`
    : "";
  const lost = measured
    ? `\nheld-out text: perplexity ${measured.perplexity[1].toFixed(2)}, before ${measured.perplexity[0].toFixed(2)}; KL ${measured.kl.mean.toFixed(4)} nats, same likeliest token ${(100 * measured.top1).toFixed(1)} %\n`
    : "";
  process.stdout.write(
    `${model.folder}: ${formatBytes(model.bytes)}, ${model.bitsPerWeight.toFixed(2)} bits a weight in the blocks, ${Math.round(model.seconds)} s\n\n` +
      `energy of the layers' outputs that is lost on the calibration tokens, and what rounding to nearest would have lost\n${lossTable(model)}\n${distilled}${lost}`,
  );
}

/** Adds the command. */
export function addQuantizeCommand(program: Command): void {
  program
    .command("quantize")
    .description("make a model of few bits: a folder that every command opens with -m")
    .argument("[source]", "folder, .gguf file or hub id (default: the model outrider comes with)")
    .requiredOption("-o, --out <folder>", "folder to write")
    .option("--bits <n>", "bits of the blocks: 2, 3, 4 or 8 (default: 2)", count)
    .option("--group <n>", "inputs that share a scale and a zero (default: 64)", count)
    .option("--budget <bytes>", "bytes of all matrices, such as 40MiB: bits of each by what it is worth", bytes)
    .option("--method <name>", "rtn, gptq or decoupleq (default: decoupleq)")
    .option("--rounds <n>", "most turns of decoupleq (default: 8)", count)
    .option("--block-epochs <n>", "passes that train scales and norms of each block, 0: none (default: 2)", count)
    .option("--distill-steps <n>", "steps that train all scales and norms at once, 0: none (default: 400)", count)
    .option(
      "--distill-tokens <n>",
      "calibration tokens for these steps (default: a sequence each, at most 262144)",
      count,
    )
    .option("--embeddings <bits>", "4, 8 or f16 (default: 8)")
    .option(
      "--calibration <source...>",
      'text or .jsonl files, "self" or "chat" for text or chats of the model itself (default: self)',
    )
    .option("--tokens <n>", "calibration tokens (default: 65536, fewer for wide models)", count)
    .option("--window <tokens>", "tokens of a calibration sequence (default: 512)", count)
    .option("--seed <n>", "of the model's own calibration text (default: 0)", count)
    .option("--threads <n>", "threads", count)
    .option("--no-measure", "leave out measuring at the end what was lost")
    .option("--resume", "go on with the unfinished run in the folder")
    .option("--json", "print one JSON object")
    .action(quantizeCommand);
}
