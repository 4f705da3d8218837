// Calibration tokens: windows of text files, of conversations through the model's template, or of text the model makes up.

import { readFile } from "node:fs/promises";
import { describe, expected, OutriderError } from "../errors.ts";
import { load } from "../generate/open.ts";
import type { ChatTemplate, Message } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ResolvedQuantize } from "./options.ts";

/** Sequences one after the other. */
export interface CalibrationTokens {
  tokens: Int32Array;
  lengths: Int32Array;
}

interface Text {
  tokenizer: Tokenizer;
  template: ChatTemplate;
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

/** The text of one line of a .jsonl file. */
function lineText(file: string, number: number, line: string, template: ChatTemplate): string {
  const bad = (received: unknown) =>
    new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected {"messages": [...]} or {"text": ...} in line ${number} of ${file}, received ${describe(received)}`,
    );
  let value: { messages?: unknown; text?: unknown } | null;
  try {
    value = JSON.parse(line);
  } catch {
    throw bad(line);
  }
  if (typeof value?.text === "string") return value.text;
  if (!Array.isArray(value?.messages)) throw bad(line);
  return template.render(value.messages as Message[], { addGenerationPrompt: false });
}

/** Windows spread evenly over a text. */
function spread(ids: Int32Array, count: number, window: number, file: string): Int32Array[] {
  const whole = Math.floor(ids.length / window);
  if (whole === 0) {
    if (ids.length < 8) throw expected("OUTRIDER_ARGUMENT", file, "a calibration text of 8 tokens or more", ids.length);
    return [ids];
  }
  const take = Math.min(count, whole);
  return Array.from({ length: take }, (_, i) => {
    const first = Math.floor((i * whole) / take) * window;
    return ids.subarray(first, first + window);
  });
}

async function fromFile(file: string, count: number, window: number, text: Text): Promise<Int32Array[]> {
  const content = await readText(file);
  if (!file.endsWith(".jsonl")) return spread(text.tokenizer.encode(content), count, window, file);
  const lines = content.split("\n").flatMap((line, i) => (line.trim() === "" ? [] : [{ line, number: i + 1 }]));
  const ids = lines.map(({ line, number }) => text.tokenizer.encode(lineText(file, number, line, text.template)));
  const all = new Int32Array(ids.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of ids) {
    all.set(part, at);
    at += part.length;
  }
  return spread(all, count, window, file);
}

/** Text drawn from the model itself at temperature 1, past its own ends, so that it covers what the model says and nothing else. */
async function fromModel(
  source: string | undefined,
  count: number,
  window: number,
  text: Text,
  options: ResolvedQuantize,
  report: (done: number) => void,
): Promise<Int32Array[]> {
  const { threads, signal, seed } = options;
  await using model = await load(source, { threads, signal, activation: "int8", contextLength: window });
  const { bosToken } = text.tokenizer;
  const start = bosToken === undefined ? text.tokenizer.encode("The") : text.tokenizer.encode(bosToken);
  const windows: Int32Array[] = [];
  for (let i = 0; i < count; i++) {
    const { tokens } = await model.generate(start, {
      ...{ maxTokens: window - start.length, ignoreEos: true, temperature: 1, topK: 0, topP: 1, minP: 0 },
      ...{ typicalP: 1, repetitionPenalty: 1, seed: seed * 1_000_003 + i, signal },
    });
    windows.push(Int32Array.from([...start, ...tokens]));
    report(i + 1);
  }
  return windows;
}

/**
 * The tokens that `options.calibration` names, an equal part from each, enough for statistics and for distillation.
 * @throws {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_IO or OUTRIDER_FORMAT naming the file.
 */
export async function calibrationTokens(
  source: string | undefined,
  text: Text,
  contextLength: number,
  options: ResolvedQuantize,
): Promise<CalibrationTokens> {
  const { calibration, onProgress, signal } = options;
  const window = Math.min(options.window ?? 1024, contextLength);
  const total = Math.max(1, Math.round(Math.max(options.tokens, options.distillTokens) / window));
  const windows: Int32Array[] = [];
  for (const [i, from] of calibration.entries()) {
    signal?.throwIfAborted();
    const count = Math.floor(((i + 1) * total) / calibration.length) - Math.floor((i * total) / calibration.length);
    if (count === 0) continue;
    const before = windows.length;
    const report = (done: number) => onProgress?.({ phase: "calibration", done: before + done, total });
    report(0);
    if (from === "self") windows.push(...(await fromModel(source, count, window, text, options, report)));
    else windows.push(...(await fromFile(from, count, window, text)));
  }
  return joined(windows);
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

/** Sequences of about that many tokens, spread evenly over all of them, so that each source keeps its part. */
export function someOf({ tokens, lengths }: CalibrationTokens, most: number): CalibrationTokens {
  const take = Math.max(1, Math.min(lengths.length, Math.round((most * lengths.length) / tokens.length)));
  const windows: Int32Array[] = [];
  let at = 0;
  for (const length of lengths) {
    windows.push(tokens.subarray(at, at + length));
    at += length;
  }
  return joined(Array.from({ length: take }, (_, i) => windows[Math.floor((i * lengths.length) / take)]));
}
