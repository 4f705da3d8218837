// Ctrl-C. Without a handler of a command it ends the process at once with exit code 130, the same at every moment.

import { exitCode } from "./exit-codes.ts";

/** The reason of a call that Ctrl-C stopped; it is no failure to report. */
export class Interrupted extends Error {
  constructor() {
    super("interrupted");
  }
}

const leave = () => process.exit(exitCode.interrupted);
let handler: () => void = leave;

/** Takes SIGINT over from Node, which would end the process by the signal, with no exit code. */
export function handleInterrupts(): void {
  process.on("SIGINT", () => handler());
}

/** Calls `next` on Ctrl-C until the returned function is called. */
export function onInterrupt(next: () => void): () => void {
  handler = next;
  return () => {
    if (handler === next) handler = leave;
  };
}

/** Aborts at the first Ctrl-C; a second one ends the process. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  const done = onInterrupt(() => {
    done();
    controller.abort(new Interrupted());
  });
  return controller.signal;
}
