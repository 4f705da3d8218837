#!/usr/bin/env node
// `npm run lint`: biome for TypeScript and scripts, clang-format for C++. --write mends what can be mended.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { root } from "./native-flags.mjs";

const write = process.argv.includes("--write");
const bin = (name) => path.join(root, "node_modules/.bin", name);
const native = fs
  .readdirSync(path.join(root, "native"), { recursive: true })
  .filter((file) => /\.(h|cpp)$/.test(file))
  .map((file) => path.join("native", file));
const checks = [
  ["biome", ["check", ...(write ? ["--write"] : []), "."]],
  ["clang-format", [...(write ? ["-i"] : ["--dry-run", "-Werror"]), ...native]],
];
for (const [name, args] of checks) {
  if (spawnSync(bin(name), args, { cwd: root, stdio: "inherit" }).status !== 0) process.exitCode = 1;
}
