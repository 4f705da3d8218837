// outrider chat: a conversation in the terminal.

import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { type Chat, type GenerateOptions, type Model, OutriderError } from "../index.ts";
import { generateOptions, loadOptions, withGenerateOptions, withLoadOptions } from "./arguments.ts";
import { interruptible, onInterrupt } from "./interrupt.ts";
import { loadWithProgress } from "./output.ts";

type Values = Record<string, unknown> & { model?: string; system?: string };

/** A conversation that outlives its context: what no longer fits is left out, oldest first. */
class Conversation {
  readonly #model: Model;
  readonly #options: GenerateOptions;
  #chat: Chat;

  constructor(model: Model, system: string | undefined, options: GenerateOptions) {
    this.#model = model;
    this.#options = options;
    this.#chat = model.chat({ system, ...options });
  }

  /** Forgets the older half of what was said after the system message. Whether there was anything to forget. */
  #forget(): boolean {
    const { history } = this.#chat;
    const start = history[0]?.role === "system" ? 1 : 0;
    const turns = Math.floor((history.length - start) / 2);
    if (turns === 0) return false;
    const kept = [...history.slice(0, start), ...history.slice(start + 2 * Math.ceil(turns / 2))];
    this.#chat.dispose();
    this.#chat = this.#model.chat({ history: kept, ...this.#options });
    return true;
  }

  /** Prints the answer as it comes; with a full context a line that says what happens. */
  async answer(line: string, signal: AbortSignal): Promise<void> {
    const { contextLength } = this.#model.info;
    let forgot = false;
    for (;;) {
      try {
        for await (const piece of this.#chat.stream(line, { signal })) process.stdout.write(piece.text);
        return;
      } catch (error) {
        if (!(error instanceof OutriderError) || error.code !== "OUTRIDER_CONTEXT") throw error;
        if (!this.#forget()) {
          process.stderr.write(`This message does not fit the context of ${contextLength} tokens.\n`);
          return;
        }
        if (!forgot)
          process.stderr.write(
            `The context of ${contextLength} tokens is full: the conversation goes on without its older part.\n`,
          );
        forgot = true;
      }
    }
  }

  dispose(): void {
    this.#chat.dispose();
  }
}

/** Lines from the user until the end of input, Ctrl-C at the prompt or a second one during an answer. */
async function chat(values: Values): Promise<void> {
  await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal: interruptible() });
  const conversation = new Conversation(model, values.system, generateOptions(values));
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: terminal ? process.stdout : undefined, prompt: "> " });
  let answer: AbortController | undefined;
  let left = false;
  const interrupt = () => {
    if (answer && !answer.signal.aborted) {
      answer.abort(); // the first Ctrl-C stops the answer
      return;
    }
    left = true; // the next one, or one at the prompt, leaves, whatever else was typed
    lines.close();
  };
  // Ctrl-C is a key where the terminal hands keys over one by one, and a signal elsewhere.
  lines.on("SIGINT", interrupt);
  const done = onInterrupt(interrupt);
  let closed = false;
  lines.once("close", () => {
    closed = true;
  });
  // A prompt on closed lines would open the input again, and nothing would ever close it.
  const prompt = () => {
    if (terminal && !closed) lines.prompt();
  };
  if (terminal) process.stderr.write(`${model.info.file}\nCtrl-C stops an answer, twice or Ctrl-D leaves.\n`);
  try {
    prompt();
    for await (const line of lines) {
      if (left) break;
      if (line.trim() !== "") {
        answer = new AbortController();
        try {
          await conversation.answer(line, answer.signal);
        } catch (error) {
          if (!answer.signal.aborted) throw error;
        }
        answer = undefined;
        process.stdout.write("\n");
      }
      if (left) break;
      prompt();
    }
  } finally {
    done();
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
