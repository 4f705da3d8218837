// outrider generate, tokenize and perplexity.

import type { Command } from "commander";
import { count, generateOptions, loadOptions, withGenerateOptions, withLoadOptions } from "./arguments.ts";
import { exitCode } from "./exit-codes.ts";
import { interruptible } from "./interrupt.ts";
import { loadWithProgress, Progress } from "./output.ts";
import { readText } from "./read-text.ts";

async function readStdin(): Promise<string> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const chunk of process.stdin) text += chunk;
  return text;
}

type Values = Record<string, unknown> & { model?: string; json?: boolean; maxTokens?: number };

async function generate(words: string[], values: Values): Promise<void> {
  const prompt = words.length > 0 ? words.join(" ") : await readStdin();
  const signal = interruptible();
  await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal });
  const options = { maxTokens: 256, ...generateOptions(values), signal };
  if (values.json) {
    const result = await model.generate(prompt, options);
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  let before = prompt; // shown with the first piece: options that are refused leave no output
  try {
    for await (const piece of model.stream(prompt, options)) {
      process.stdout.write(before + piece.text);
      before = "";
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = exitCode.interrupted;
  }
  process.stdout.write(`${before}\n`);
}

async function tokenize(words: string[], values: Values): Promise<void> {
  const text = words.length > 0 ? words.join(" ") : await readStdin();
  await using model = await loadWithProgress(values.model, { signal: interruptible() });
  const ids = Array.from(model.tokenize(text));
  if (values.json) {
    process.stdout.write(`${JSON.stringify(ids)}\n`);
    return;
  }
  for (const id of ids) process.stdout.write(`${String(id).padStart(7)}  ${JSON.stringify(model.detokenize([id]))}\n`);
}

async function perplexity(file: string, values: Values & { window?: number; maxWindows?: number }): Promise<void> {
  const text = await readText(file);
  const signal = interruptible();
  await using model = await loadWithProgress(values.model, { ...loadOptions(values), signal });
  const progress = new Progress();
  const started = performance.now();
  const onProgress = ({ done, total }: { done: number; total: number }) =>
    progress.update("Scoring", done, total, `window ${done} of ${total}`);
  const { window, maxWindows } = values;
  const result = await model.perplexity(text, { window, maxWindows, signal, onProgress }).finally(() => progress.end());
  const tokens = result.windows.reduce((sum, window) => sum + window.tokens, 0);
  const seconds = (performance.now() - started) / 1000;
  if (values.json) process.stdout.write(`${JSON.stringify({ ...result, tokens, seconds })}\n`);
  else
    process.stdout.write(
      `perplexity ${result.perplexity.toFixed(4)} over ${tokens} tokens in ${result.windows.length} windows, ${seconds.toFixed(1)} s\n`,
    );
}

/** Adds the commands. */
export function addGenerateCommands(program: Command): void {
  withGenerateOptions(withLoadOptions(program.command("generate")))
    .description("continue a prompt (from the arguments or standard input) and stream the text")
    .argument("[prompt...]")
    .option("--json", "print one JSON object with text, tokens and statistics at the end")
    .action(generate);
  program
    .command("tokenize")
    .description("show the tokens of a text (from the arguments or standard input)")
    .argument("[text...]")
    .option("-m, --model <source>", "folder, .gguf file or hub id")
    .option("--json", "print the ids as JSON")
    .action(tokenize);
  withLoadOptions(program.command("perplexity"))
    .description("measure how well a model predicts a text file")
    .argument("<file>")
    .option("--window <tokens>", "tokens per window", count)
    .option("--max-windows <n>", "windows to score", count)
    .option("--json", "print JSON")
    .action(perplexity);
}
