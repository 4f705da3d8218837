#!/usr/bin/env node
// Stages and packs the published tarball: release/outrider-VERSION.tgz with dist/ and prebuilds/, without binding.gyp and without
// install scripts, so that installing it neither compiles nor downloads.
//   npm run pack:release [-- --host]
// The addon is compiled by `zig c++` (Python package ziglang, or ZIG) against glibc 2.28; --host uses the machine's own compiler
// instead, for a quick look only.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { root } from "./native-flags.mjs";

const { values: options } = parseArgs({ options: { host: { type: "boolean", default: false } } });
// Of outrider itself, and of the model that comes with it.
const limits = { outrider: 10 * 1024 * 1024, model: 64 * 1024 * 1024 };
const zig = process.env.ZIG ?? "python3 -m ziglang";
const stage = path.join(root, "release/stage");
const platform = "linux-x64";

function run(command, args, cwd = root) {
  const result = spawnSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (result.status !== 0) {
    console.error(`${command} ${args.join(" ")} failed\n${result.stdout ?? result.error?.message}`);
    process.exit(1);
  }
  return result.stdout;
}

function folderBytes(folder) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath ?? entry.path, entry.name)).size, 0);
}

const [zigCommand, ...zigArgs] = zig.split(" ");
if (!options.host && spawnSync(zigCommand, [...zigArgs, "version"]).status !== 0) {
  console.error(
    "The release is compiled by zig c++. Run: pip install ziglang (or set ZIG, or pass --host for a local build)",
  );
  process.exit(1);
}

fs.rmSync(stage, { recursive: true, force: true });
run("node", ["scripts/build-ts.mjs", "--out", path.join(stage, "dist")]);
const addon = path.join(stage, "prebuilds", platform, "outrider.node");
const build = ["scripts/build-native.mjs", "--output", addon];
const cross = ["--out", "build/release", "--cxx", `${zig} c++`, "--target", "x86_64-linux-gnu.2.28"];
run(process.execPath, options.host ? [...build, "--out", "build/direct"] : [...build, ...cross]);

const { scripts, devDependencies, workspaces, ...manifest } = JSON.parse(
  fs.readFileSync(path.join(root, "package.json"), "utf8"),
);
const model = "outrider-smollm2-135m-instruct";
manifest.bundleDependencies = [model];
manifest.cpu = ["x64"];
manifest.files = ["dist", "prebuilds", "CHANGELOG.md", "NOTICE"];
fs.writeFileSync(path.join(stage, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
for (const file of ["README.md", "CHANGELOG.md", "LICENSE", "NOTICE"])
  fs.copyFileSync(path.join(root, file), path.join(stage, file));
fs.cpSync(path.join(root, "models/smollm2-135m-instruct"), path.join(stage, "node_modules", model), {
  recursive: true,
});

const modelBytes = folderBytes(path.join(stage, "node_modules", model));
const bytes = folderBytes(stage) - modelBytes;
const packed = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", ".."], stage));
console.log(
  `release/${(Array.isArray(packed) ? packed[0] : Object.values(packed)[0]).filename}: ${bytes} bytes installed, ${fs.statSync(addon).size} of them the addon, and the model, ${modelBytes} bytes`,
);
for (const [what, size] of Object.entries({ outrider: bytes, model: modelBytes })) {
  if (size <= limits[what]) continue;
  console.error(`The installed ${what} exceeds ${limits[what]} bytes`);
  process.exit(1);
}
