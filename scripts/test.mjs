#!/usr/bin/env node
// `npm test`: format and lint, types, then every vitest suite. Ends with vitest's summary and a line "N passed, N failed".
//   node scripts/test.mjs [arguments for vitest]
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { root } from "./native-flags.mjs";

const report = path.join(os.tmpdir(), `outrider-test-${process.pid}.json`);
let failed = 0;

function run(name, args, env = {}) {
  console.log(`\n> ${name}`);
  const bin = args[0] === "node" ? process.execPath : path.join(root, "node_modules/.bin", args[0]);
  return spawnSync(bin, args.slice(1), { cwd: root, stdio: "inherit", env: { ...process.env, ...env } }).status === 0;
}

for (const [name, args] of [
  ["lint", ["node", "scripts/lint.mjs"]],
  ["types", ["tsc", "--noEmit", "-p", "tsconfig.json"]],
]) {
  if (!run(name, args)) {
    failed += 1;
    console.error(`${name} failed`);
  }
}
const extra = process.argv.slice(2);
const ok = run("tests", [
  "vitest",
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${report}`,
  ...extra,
]);
let passed = 0;
try {
  const result = JSON.parse(fs.readFileSync(report, "utf8"));
  passed = result.numPassedTests;
  failed += result.numFailedTests;
  if (!ok && result.numFailedTests === 0) failed += 1; // a suite that could not even start
} catch {
  failed += 1;
}
fs.rmSync(report, { force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
