// Options that several commands have, and how their text becomes numbers.

import { type Command, InvalidArgumentError } from "commander";
import type { GenerateOptions, LoadOptions } from "../index.ts";

/** A finite number, or a usage error. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number.");
  return value;
}

/** A non-negative integer, or a usage error. */
export function count(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError("Expected a non-negative integer.");
  return value;
}

const units: Readonly<Record<string, number>> = {
  "": 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
};

/** Bytes such as 40MiB, 1.5GB or 1000000, or a usage error. */
export function bytes(text: string): number {
  const [, value, unit] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim()) ?? [];
  const size = units[(unit ?? "?").toLowerCase()];
  if (size === undefined) throw new InvalidArgumentError("Expected bytes such as 40MiB.");
  return Math.floor(Number(value) * size);
}

/** An integer of either sign, as its digits: it may be larger than a number holds. */
function integer(text: string): string {
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError("Expected an integer.");
  return text;
}

/** auto or off, or a usage error. */
function drafting(text: string): "auto" | false {
  if (text === "auto") return text;
  if (text === "off") return false;
  throw new InvalidArgumentError("Expected auto or off.");
}

/** A rule by its name, with its defaults, or a usage error. */
function approximation(text: string): GenerateOptions["approximate"] {
  if (text === "typical" || text === "relaxed") return { rule: text };
  throw new InvalidArgumentError("Expected typical or relaxed.");
}

const collect = (value: string, earlier: string[] = []) => [...earlier, value];

/** Adds the options of loading a model. */
export function withLoadOptions(command: Command): Command {
  return command
    .option("-m, --model <source>", "folder, .gguf file or hub id (default: the model outrider comes with)")
    .option("--threads <n>", "threads of the engine", count)
    .option("--context <tokens>", "tokens a sequence may hold", count)
    .option("--kv <format>", "KV cache format: f16, bf16 or f32")
    .option("--activation <mode>", "arithmetic of affine weights: int8 or float")
    .option("--isa <level>", "CPU level, one of those that outrider doctor shows");
}

/** The load options among parsed ones. */
export function loadOptions(values: Record<string, unknown>): LoadOptions {
  const { threads, context, kv, activation, isa } = values;
  return JSON.parse(JSON.stringify({ threads, contextLength: context, kv, activation, isa })) as LoadOptions;
}

/** Adds the options of generation. */
export function withGenerateOptions(command: Command): Command {
  return command
    .option("-n, --max-tokens <n>", "tokens to generate at most", count)
    .option("--min-tokens <n>", "tokens before the text may end", count)
    .option("-t, --temperature <x>", "0: always the likeliest token", number)
    .option("--top-k <n>", "keep the n likeliest tokens", count)
    .option("--top-p <x>", "keep tokens of this total probability", number)
    .option("--min-p <x>", "keep tokens this fraction as likely as the likeliest", number)
    .option("--typical-p <x>", "keep typical tokens of this total probability", number)
    .option("--repetition-penalty <x>", "divide the logits of seen tokens", number)
    .option("--frequency-penalty <x>", "subtract per occurrence", number)
    .option("--presence-penalty <x>", "subtract once for seen tokens", number)
    .option("--seed <n>", "make the text reproducible", integer)
    .option("--stop <text>", "end at this text (may be given several times)", collect)
    .option("--ignore-eos", "never end by itself")
    .option(
      "--draft <auto|off>",
      "speculative decoding: the same text, sooner where it repeats itself or the prompt (default: auto)",
      drafting,
    )
    .option(
      "--approximate <typical|relaxed>",
      "take drafted tokens that are likely enough though not drawn: sooner, and another text",
      approximation,
    );
}

const generationKeys = [
  "maxTokens",
  "minTokens",
  "temperature",
  "topK",
  "topP",
  "minP",
  "typicalP",
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "seed",
  "stop",
  "ignoreEos",
  "draft",
  "approximate",
] as const;

/** The generation options among parsed ones. */
export function generateOptions(values: Record<string, unknown>): GenerateOptions {
  return Object.fromEntries(generationKeys.filter((key) => values[key] !== undefined).map((key) => [key, values[key]]));
}
