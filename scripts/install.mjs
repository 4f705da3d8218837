#!/usr/bin/env node
// `npm install` in a checkout: builds the addon unless it is newer than its sources.
//   node scripts/install.mjs [--force] [--with gyp|direct]
// node-gyp through binding.gyp where Python 3 and make are there, as contributors expect; else, or if that fails, the direct
// builder, which needs a C++ compiler only. OUTRIDER_BUILD=gyp|direct chooses too.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { parseArgs } from "node:util";
import { root } from "./native-flags.mjs";

const require = createRequire(import.meta.url);
const { values: options } = parseArgs({
  options: { force: { type: "boolean", default: false }, with: { type: "string" } },
});
const addon = path.join(root, "build/Release/outrider.node");

function newest(folder) {
  return fs.readdirSync(folder, { withFileTypes: true, recursive: true }).reduce((latest, entry) => {
    if (!entry.isFile()) return latest;
    return Math.max(latest, fs.statSync(path.join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }, 0);
}

const works = (command, args) => spawnSync(command, args, { stdio: "ignore" }).status === 0;

/** A folder shaped like a Node installation, so that node-gyp uses the header package and downloads nothing. */
function headerFolder() {
  const home = path.join(root, "node_modules/.cache/outrider-headers"); // not in build/, which node-gyp empties
  const target = path.join(home, "include/node");
  fs.mkdirSync(target, { recursive: true });
  fs.cpSync(require("node-api-headers").include_dir, target, { recursive: true });
  fs.writeFileSync(path.join(target, "common.gypi"), "{}\n");
  fs.writeFileSync(
    path.join(target, "config.gypi"),
    '{"target_defaults": {}, "variables": {"built_with_electron": 0}}\n',
  );
  return home;
}

/** node-gyp-build runs the node-gyp that npm puts on the path of its scripts; outside npm the direct builder serves. */
function gyp() {
  const env = {
    ...process.env,
    npm_config_nodedir: headerFolder(),
    npm_config_build_from_source: "true",
    npm_config_jobs: "max",
  };
  const command = [path.join(root, "node_modules/node-gyp-build/bin.js")];
  return (
    works("node-gyp", ["--version"]) &&
    spawnSync(process.execPath, command, { cwd: root, stdio: "inherit", env }).status === 0
  );
}

function direct() {
  return (
    spawnSync(process.execPath, [path.join(root, "scripts/build-native.mjs")], { cwd: root, stdio: "inherit" })
      .status === 0
  );
}

const fresh = fs.existsSync(addon) && fs.statSync(addon).mtimeMs > newest(path.join(root, "native"));
if (!fresh || options.force) {
  const choice = options.with ?? process.env.OUTRIDER_BUILD;
  const canGyp = works("python3", ["--version"]) && works("make", ["--version"]);
  const built = choice === "gyp" ? gyp() : choice === "direct" || !canGyp ? direct() : gyp() || direct();
  if (!built) {
    console.error("outrider: the native addon was not built. Install g++ 12 or clang 15 and run: npm run build:native");
    process.exitCode = 1;
  }
}
