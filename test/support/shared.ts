// The folder of real models and golden outputs that some tests need; a plain clone does without it.
import { existsSync } from "node:fs";
import path from "node:path";
import { describe } from "vitest";

/** The folder, or undefined where there is none. OUTRIDER_SHARED names another place. */
export function sharedDir(): string | undefined {
  const folder = path.resolve(process.env.OUTRIDER_SHARED ?? path.join(import.meta.dirname, "../../../shared"));
  return existsSync(path.join(folder, "golden")) ? folder : undefined;
}

/** A describe block that is skipped, saying why, where the folder is absent. */
export function describeShared(name: string, body: (folder: string) => void): void {
  const folder = sharedDir();
  if (folder) {
    describe(name, () => body(folder));
    return;
  }
  const reason = `${name} (needs the shared models and golden outputs: set OUTRIDER_SHARED)`;
  console.warn(`skipped: ${reason}`);
  describe.skip(reason, () => {});
}
