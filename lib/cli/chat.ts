// outrider chat: a conversation in the terminal.

import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { generateOptions, loadOptions, withGenerateOptions, withLoadOptions } from "./arguments.ts";
import { loadWithProgress } from "./output.ts";

type Values = Record<string, unknown> & { model?: string; system?: string };

/** Lines from the user; undefined at the end of input or when Ctrl-C is pressed at the prompt. */
async function chat(values: Values): Promise<void> {
  await using model = await loadWithProgress(values.model, loadOptions(values));
  const conversation = model.chat({ system: values.system, ...generateOptions(values) });
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: terminal ? process.stdout : undefined });
  let answer: AbortController | undefined;
  const interrupt = () => {
    if (answer && !answer.signal.aborted)
      answer.abort(); // the first Ctrl-C stops the answer
    else lines.close(); // the next one, or one at the prompt, leaves
  };
  lines.on("SIGINT", interrupt);
  process.on("SIGINT", interrupt);
  if (terminal) process.stderr.write(`${model.info.file}\nCtrl-C stops an answer, twice or Ctrl-D leaves.\n`);
  const prompt = () => {
    if (terminal) lines.setPrompt("> ");
    if (terminal) lines.prompt();
  };
  try {
    prompt();
    for await (const line of lines) {
      if (line.trim() !== "") {
        answer = new AbortController();
        try {
          for await (const piece of conversation.stream(line, { signal: answer.signal }))
            process.stdout.write(piece.text);
        } catch (error) {
          if (!answer.signal.aborted) throw error;
        }
        answer = undefined;
        process.stdout.write("\n");
      }
      prompt();
    }
  } finally {
    process.off("SIGINT", interrupt);
    lines.close();
    conversation.dispose();
  }
}

/** Adds the command. */
export function addChatCommand(program: Command): void {
  withGenerateOptions(withLoadOptions(program.command("chat")))
    .description("talk with a model; Ctrl-C stops an answer, a second one leaves")
    .option("-s, --system <text>", "system message")
    .action(chat);
}
