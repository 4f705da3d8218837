// The commands: arguments in, text out.

import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { addBenchCommand } from "./bench.ts";
import { addChatCommand } from "./chat.ts";
import { addCompareCommand } from "./compare.ts";
import { exitCode } from "./exit-codes.ts";
import { addGenerateCommands } from "./generate.ts";
import { addInspectCommands } from "./inspect.ts";
import { reportError } from "./output.ts";
import { addQuantizeCommand } from "./quantize.ts";

const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };

/** Runs the command that the arguments of the process name, and sets its exit code. */
export async function run(): Promise<void> {
  const program = new Command("outrider")
    .description("Run decoder language models on this machine.")
    .version(version)
    .option("--verbose", "whole errors with stack and explanation")
    .showSuggestionAfterError()
    .exitOverride();
  addGenerateCommands(program);
  addChatCommand(program);
  addInspectCommands(program);
  addBenchCommand(program);
  addQuantizeCommand(program);
  addCompareCommand(program);
  for (const command of program.commands) command.exitOverride();

  // A reader that went away (outrider generate | head) is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });

  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitCode.usage;
    else process.exitCode = reportError(error, program.opts().verbose === true);
  }
}
