// Calibration tokens: windows of text files, of conversations through the model's template, or of text the model makes up.

import { readFile } from "node:fs/promises";
import { describe, expected, OutriderError } from "../errors.ts";
import type { Message } from "../text/chat-template.ts";
import { madeText, type Text } from "./made-text.ts";
import type { ResolvedQuantize } from "./options.ts";

/** Sequences one after the other. */
export interface CalibrationTokens {
  tokens: Int32Array;
  lengths: Int32Array;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new OutriderError(
      missing ? "OUTRIDER_NOT_FOUND" : "OUTRIDER_IO",
      missing
        ? `Expected a calibration file at ${file}, found none`
        : `Cannot read ${file}: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** The tokens of one line of a .jsonl file. */
function lineTokens(file: string, number: number, line: string, { tokenizer, template }: Text): Int32Array {
  const bad = (received: unknown, wanted = '{"messages": [...]}, {"text": ...} or {"tokens": [...]}') =>
    new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected ${wanted} in line ${number} of ${file}, received ${describe(received)}`,
    );
  let value: { messages?: unknown; text?: unknown; tokens?: unknown } | null;
  try {
    value = JSON.parse(line);
  } catch {
    throw bad(line);
  }
  if (typeof value?.text === "string") return tokenizer.encode(value.text);
  if (Array.isArray(value?.tokens)) {
    const [ids, vocab] = [value.tokens, tokenizer.vocabSize];
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocab));
    if (wrong !== undefined) throw bad(wrong, `token ids below ${vocab}`);
    return Int32Array.from(ids);
  }
  if (!Array.isArray(value?.messages)) throw bad(line);
  return tokenizer.encode(template.render(value.messages as Message[], { addGenerationPrompt: false }));
}

/** 0, 1, ... count - 1 in an order whose every beginning is spread evenly: that of their bits read backwards (van der Corput). */
export function spreadOrder(count: number): number[] {
  const bits = Math.ceil(Math.log2(Math.max(2, count)));
  const reversed = (i: number) => {
    let out = 0;
    for (let bit = 0; bit < bits; bit++) out = out * 2 + ((i >> bit) & 1);
    return out;
  };
  return Array.from({ length: 2 ** bits }, (_, i) => reversed(i)).filter((i) => i < count);
}

/** Windows spread evenly over a text; more of them begin with the same. */
function spread(ids: Int32Array, count: number, window: number, file: string): Int32Array[] {
  const whole = Math.floor(ids.length / window);
  if (whole === 0) {
    if (ids.length < 8) throw expected("OUTRIDER_ARGUMENT", file, "a calibration text of 8 tokens or more", ids.length);
    return [ids];
  }
  return spreadOrder(whole)
    .slice(0, count)
    .map((i) => ids.slice(i * window, (i + 1) * window));
}

async function fromFile(file: string, count: number, window: number, text: Text): Promise<Int32Array[]> {
  const content = await readText(file);
  if (!file.endsWith(".jsonl")) return spread(text.tokenizer.encode(content), count, window, file);
  const lines = content.split("\n").flatMap((line, i) => (line.trim() === "" ? [] : [{ line, number: i + 1 }]));
  const { tokens } = joined(lines.map(({ line, number }) => lineTokens(file, number, line, text)));
  return spread(tokens, count, window, file);
}

/** Windows of calibration text, by the source they come from. */
export type CalibrationText = readonly (readonly Int32Array[])[];

/** How many of `total` windows come from source i of n; never fewer for a larger total, so that what is there serves both. */
const share = (total: number, n: number, i: number) => Math.floor((total + i) / n);

const windowsOf = (tokens: number, window: number) => Math.max(1, Math.round(tokens / window));

/** Windows in all for training, and those that a quantised model is measured on. */
function totals({ tokens, distillTokens, window, measure }: ResolvedQuantize): { training: number; all: number } {
  const training = windowsOf(Math.max(tokens, distillTokens), window);
  return { training, all: training + (measure ? probes : 0) };
}

/** Windows that are kept for measuring. */
const probes = 8;

/** The windows that no training sees; none where a text was too short for them. */
export function heldOut(text: CalibrationText, options: ResolvedQuantize): Int32Array[] {
  const { training, all } = totals(options);
  return text.flatMap((windows, i) =>
    windows.slice(share(training, text.length, i), share(all, text.length, i)).filter((ids) => ids.length > 1),
  );
}

/**
 * Text from what `options.calibration` names, an equal part from each, enough for statistics, for distillation and for measuring.
 * @param known what there is of it already
 * @throws {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_IO or OUTRIDER_FORMAT naming the file.
 */
export async function calibrationText(
  source: string | undefined,
  text: Text,
  options: ResolvedQuantize,
  known: CalibrationText = [],
): Promise<CalibrationText> {
  const { calibration, window, onProgress, signal } = options;
  const total = totals(options).all;
  const all: Int32Array[][] = [];
  let before = 0;
  for (const [i, from] of calibration.entries()) {
    signal?.throwIfAborted();
    const count = share(total, calibration.length, i);
    const have = known[i] ?? [];
    const report = (done: number) => onProgress?.({ phase: "calibration", done: before + done, total });
    report(have.length);
    const more =
      have.length >= count
        ? []
        : from === "self" || from === "chat"
          ? await madeText(source, from, [have.length, count], text, options, report)
          : (await fromFile(from, count, window, text)).slice(have.length);
    all.push([...have, ...more]);
    before += count;
  }
  return all;
}

/** About that many tokens of a text, from each source its part. */
export function someOf(text: CalibrationText, tokens: number, window: number): CalibrationTokens {
  const total = windowsOf(tokens, window);
  return joined(text.flatMap((windows, i) => windows.slice(0, share(total, text.length, i))));
}

function joined(windows: readonly Int32Array[]): CalibrationTokens {
  const lengths = Int32Array.from(windows, (ids) => ids.length);
  const tokens = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const ids of windows) {
    tokens.set(ids, at);
    at += ids.length;
  }
  return { tokens, lengths };
}
