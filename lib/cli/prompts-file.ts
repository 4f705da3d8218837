// A user's own prompts: a line each, or a JSON object each.

import { type Message, OutriderError } from "../index.ts";
import { readText } from "./read-text.ts";

/** A text to continue, or a conversation to answer. */
export type PromptLine = { prompt: string } | { messages: Message[] };

function messagesOf(value: unknown): Message[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const good = value.every(
    (message) => typeof message?.role === "string" && typeof message?.content === "string" && message.role !== "",
  );
  return good && value[value.length - 1].role === "user" ? (value as Message[]) : undefined;
}

function parsed(line: string, where: string): PromptLine {
  let value: { prompt?: unknown; messages?: unknown } | null;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected JSON in ${where}: ${(error as Error).message}`);
  }
  const messages = messagesOf(value?.messages);
  if (messages) return { messages };
  if (typeof value?.prompt === "string" && value.prompt !== "") return { prompt: value.prompt };
  throw new OutriderError(
    "OUTRIDER_FORMAT",
    `Expected { "prompt": "..." } or { "messages": [..., { "role": "user", "content": "..." }] } in ${where}, received ${line.slice(0, 80)}`,
  );
}

/**
 * Reads prompts: of a .jsonl file one JSON object a line, of any other file one prompt a line. Empty lines are skipped.
 * @throws {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_IO, OUTRIDER_FORMAT naming the line
 */
export async function readPrompts(file: string): Promise<PromptLine[]> {
  const text = (await readText(file)).replace(/^\uFEFF/, "");
  const json = file.endsWith(".jsonl");
  const lines = text.split(/\r?\n/).flatMap((line, i): PromptLine[] => {
    if (line.trim() === "") return [];
    return [json ? parsed(line, `line ${i + 1} of ${file}`) : { prompt: line }];
  });
  if (lines.length > 0) return lines;
  throw new OutriderError("OUTRIDER_FORMAT", `Expected a prompt in ${file}, received none`);
}
