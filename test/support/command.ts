// Another program, run to its end. The event loop stays free meanwhile: a test runner that hears nothing from a suite
// for a minute takes it for dead.
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

export interface Ended {
  /** null: ended by a signal. */
  status: number | null;
  stdout: string;
  stderr: string;
}

export async function run(
  file: string,
  args: readonly string[],
  { input = "", ...options }: { input?: string; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Ended> {
  const child = spawn(file, args, { ...options, stdio: "pipe" });
  child.stdin.on("error", () => {}); // it may end before it has read its input
  child.stdin.end(input);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const [status, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { status, stdout, stderr };
}
