// What the commands share: progress, tables and errors.

import { errorCodes, type LoadOptions, type LoadProgress, load, type Model, OutriderError } from "../index.ts";
import { exitCode } from "./exit-codes.ts";
import { Interrupted } from "./interrupt.ts";

/** Bytes for people: 96.1 MiB. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/**
 * A progress line on stderr: a bar that is redrawn on a terminal; elsewhere a plain line at the start and the end.
 * @param label what is going on
 */
export class Progress {
  readonly #terminal = process.stderr.isTTY === true;
  #label = "";
  #drawn = false;

  update(label: string, done: number, total: number, detail = ""): void {
    if (!this.#terminal) {
      if (label !== this.#label) process.stderr.write(`${label}...\n`);
      this.#label = label;
      return;
    }
    const fraction = total > 0 ? Math.min(1, done / total) : 1;
    const filled = Math.round(fraction * 24);
    const bar = "=".repeat(filled) + " ".repeat(24 - filled);
    process.stderr.write(`\r${label} [${bar}] ${Math.round(fraction * 100)}%${detail ? ` ${detail}` : ""}\x1b[K`);
    this.#drawn = true;
  }

  /** Clears the bar. */
  end(): void {
    if (this.#drawn) process.stderr.write("\r\x1b[K");
    this.#drawn = false;
  }
}

/** Loads a model with a progress bar. */
export async function loadWithProgress(source: string | undefined, options: LoadOptions): Promise<Model> {
  const progress = new Progress();
  const labels = { download: "Downloading", quantization: "Quantising", weights: "Loading" };
  const onProgress = ({ phase, loaded, total, file }: LoadProgress) =>
    progress.update(
      file ? `${labels[phase]} ${file}` : labels[phase],
      loaded,
      total,
      phase === "quantization" ? `${loaded} of ${total}` : `${formatBytes(loaded)} of ${formatBytes(total)}`,
    );
  try {
    return await load(source, { ...options, onProgress });
  } finally {
    progress.end();
  }
}

const oneLine = (text: string) => text.replace(/\s*\n\s*/g, " ");

/** Prints an error on one line, or whole with --verbose, and returns the exit code. Whoever pressed Ctrl-C knows it. */
export function reportError(error: unknown, verbose: boolean): number {
  if (error instanceof Interrupted) return exitCode.interrupted;
  if (error instanceof OutriderError) {
    const usage = error.code === "OUTRIDER_ARGUMENT";
    process.stderr.write(
      `outrider: ${verbose ? (error.stack ?? error.message) : oneLine(error.message)} [${error.code}]\n`,
    );
    if (verbose) process.stderr.write(`${error.code}: ${errorCodes[error.code]}\n`);
    return usage ? exitCode.usage : exitCode.failed;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`outrider: ${verbose && error instanceof Error ? error.stack : oneLine(message)}\n`);
  return exitCode.failed;
}
