#!/usr/bin/env node
// TypeScript to dist/, and the command line made executable, which the compiler does not do.
//   node scripts/build-ts.mjs [--out FOLDER]
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { root } from "./native-flags.mjs";

const { values } = parseArgs({ options: { out: { type: "string", default: path.join(root, "dist") } } });
const tsc = path.join(root, "node_modules/typescript/bin/tsc");
const args = [tsc, "-p", path.join(root, "tsconfig.build.json"), "--outDir", values.out];
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
if (status === 0) fs.chmodSync(path.join(values.out, "cli/main.js"), 0o755);
process.exitCode = status ?? 1;
