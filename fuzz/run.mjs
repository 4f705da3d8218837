#!/usr/bin/env node
// npm run fuzz [-- --minutes N] [--seed N]: mutated inputs against the sanitizer build, without end unless told otherwise.
// npm run fuzz -- --contract: the contract suites and those of the engine batch and GGUF against the sanitizer build
// instead; test/model/behaviour.test.ts measures time and memory, which sanitizers change.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1000000" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    contract: { type: "boolean", default: false },
  },
});

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const library = (name) =>
  spawnSync(process.env.CXX ?? "g++", [`-print-file-name=${name}`], { encoding: "utf8" }).stdout.trim();

run("npm", ["run", "build:asan"]);
const vitest = path.join(root, "node_modules/.bin/vitest");
const what = values.contract
  ? [
      "run",
      "test/contract",
      ...["approximate-walk", "batch-invariance", "copying", "engine", "engine-beside", "engine-hostile", "gguf"].map(
        (name) => `test/model/${name}.test.ts`,
      ),
      ...["mixed-rows", "stopping-head", "tree-levels"].map((name) => `test/model/${name}.test.ts`),
      "--testTimeout",
      "600000",
    ]
  : ["run", "--config", "fuzz/vitest.config.ts"];
run(vitest, what, {
  OUTRIDER_NATIVE_PATH: path.join(root, "build/asan/outrider.node"),
  // Node itself is not instrumented: the runtime has to be there before it, and its leaks are not ours.
  LD_PRELOAD: `${library("libasan.so")} ${library("libubsan.so")}`,
  ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
  UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
  OUTRIDER_FUZZ_SECONDS: String(Number(values.minutes) * 60),
  OUTRIDER_FUZZ_SEED: values.seed,
});
