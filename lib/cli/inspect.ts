// outrider inspect and doctor.

import type { Command } from "commander";
import { doctor, inspect } from "../index.ts";
import { formatBytes } from "./output.ts";

async function inspectCommand(source: string | undefined, values: { json?: boolean }): Promise<void> {
  const found = await inspect(source);
  if (values.json) {
    process.stdout.write(`${JSON.stringify(found)}\n`);
    return;
  }
  process.stdout.write(`${found.path} (${found.kind})\n\nmetadata\n`);
  for (const [key, value] of Object.entries(found.metadata)) {
    const text = typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
    process.stdout.write(`  ${key}: ${text.length > 100 ? `${text.slice(0, 97)}...` : text}\n`);
  }
  process.stdout.write(`\n${found.tensors.length} tensors\n`);
  const width = Math.max(...found.tensors.map(({ name }) => name.length), 4);
  for (const { name, format, shape, bytes } of found.tensors) {
    process.stdout.write(`  ${name.padEnd(width)}  ${format.padEnd(5)} [${shape.join(", ")}]  ${formatBytes(bytes)}\n`);
  }
  const total = Object.values(found.bytesByFormat).reduce((sum, bytes) => sum + bytes, 0);
  process.stdout.write(`\nbytes by format\n`);
  for (const [format, bytes] of Object.entries(found.bytesByFormat))
    process.stdout.write(`  ${format.padEnd(5)} ${formatBytes(bytes)}\n`);
  process.stdout.write(`  total ${formatBytes(total)}\n`);
  if (!found.quantization) return;
  const { method, shapes } = found.quantization;
  process.stdout.write(
    `\nquantised by ${method}: rows of codes, lowest bits first, weight = scale * code + zero by row and group of inputs\n`,
  );
  for (const { bits, group, matrices, bytes } of shapes)
    process.stdout.write(`  ${bits} bits in groups of ${group}: ${matrices} matrices, ${formatBytes(bytes)}\n`);
}

async function doctorCommand(values: { json?: boolean }): Promise<void> {
  const found = await doctor();
  if (values.json) {
    process.stdout.write(`${JSON.stringify(found)}\n`);
    return;
  }
  const rows: [string, string][] = [
    ["platform", `${found.platform}, glibc ${found.glibc ?? "none"}, Node ${found.node}`],
    ["processor", `${found.cpu}, ${found.threads} threads`],
    ["CPU level", `${found.level} (${found.levelReason}; this machine has ${found.levels.join(", ")})`],
    ["arithmetic", `${found.int8PeakGmacs} billion int8 multiply-accumulates a second with all threads`],
    ["memory", `${formatBytes(found.memoryBytes)}, read at ${found.bandwidthGBps} GB/s with all threads`],
    ["addon", found.addon],
    ["model cache", found.modelCache],
    ["default model", found.defaultModel],
  ];
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(14)} ${value}\n`);
}

/** Adds the commands. */
export function addInspectCommands(program: Command): void {
  program
    .command("inspect")
    .description("show metadata, tensors and bytes by format of a model file or folder")
    .argument("[source]", "folder, .gguf or .safetensors file, or hub id")
    .option("--json", "print JSON")
    .action(inspectCommand);
  program
    .command("doctor")
    .description(
      "show what outrider finds on this machine: platform, CPU level, cores, memory bandwidth, addon, model cache",
    )
    .option("--json", "print JSON")
    .action(doctorCommand);
}
