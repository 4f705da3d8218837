// Memory as outrider counts it and as the kernel does, in a process of its own.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("weights, their peak while loading, KV cache and what is left add up with RSS", {
  retry: 2,
  timeout: 120_000,
}, async () => {
  const program = path.resolve(import.meta.dirname, "../support/programs/memory.mjs");
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", program]);
  console.log(stdout.trim());
  expect(stdout).toContain("memory adds up");
});
