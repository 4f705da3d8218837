#!/usr/bin/env node
// Builds build/Release/outrider.node with nothing but Node and a C++ compiler: no Python, no make, no CMake.
//   node scripts/build-native.mjs [--out OBJECTS] [--output FILE] [--cxx "CMD ARGS"] [--target TRIPLE] [--sanitize] [--debug]
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { compileFlags, defines, includes, root } from "./native-flags.mjs";

const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: "build/direct" },
    output: { type: "string", default: "build/Release/outrider.node" },
    cxx: { type: "string", default: process.env.CXX ?? "c++" },
    target: { type: "string" },
    sanitize: { type: "boolean", default: false },
    debug: { type: "boolean", default: false },
  },
});

const x64 = options.target ? options.target.startsWith("x86_64") : process.arch === "x64";
const [compiler, ...compilerArgs] = options.cxx.split(" ");
const sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"];
const common = [
  ...(options.target ? ["-target", options.target] : []),
  ...compileFlags,
  ...(x64 ? [options.target ? "-march=x86_64_v2" : "-march=x86-64-v2"] : []), // zig spells it its own way
  ...(options.debug ? ["-O0", "-g"] : []),
  ...(options.sanitize ? ["-O1", "-g", ...sanitizers] : []),
  ...defines.map((name) => `-D${name}`),
  ...includes().flatMap((folder) => ["-I", folder]),
];
const linkFlags = [
  ...(options.target ? ["-target", options.target] : []),
  "-shared",
  "-pthread",
  "-Wl,-Bsymbolic",
  "-Wl,-z,nodelete",
  ...(options.target ? ["-s"] : ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"]),
  ...(options.sanitize ? sanitizers : []),
];

function run(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler, [...compilerArgs, ...args], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
    child.on("error", (error) =>
      reject(
        new Error(
          `Cannot run the C++ compiler "${compiler}": ${error.message}. Install g++ 12 or clang 15, or set CXX.`,
        ),
      ),
    );
    child.on("exit", (code) =>
      code === 0 ? resolve() : reject(new Error(`${compiler} failed with exit code ${code}`)),
    );
  });
}

const modified = (file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;

/** True if the object is missing or older than anything its dependency file names, or was made with other flags. */
function stale(object, stamp) {
  if (!fs.existsSync(object) || !fs.existsSync(`${object}.d`)) return true;
  if (!fs.existsSync(`${object}.flags`) || fs.readFileSync(`${object}.flags`, "utf8") !== stamp) return true;
  const made = modified(object);
  const names = fs
    .readFileSync(`${object}.d`, "utf8")
    .replace(/^[^:]*:/, "")
    .replace(/\\\n/g, " ")
    .trim()
    .split(/\s+/);
  return names.some((name) => modified(path.resolve(root, name)) > made);
}

const sources = JSON.parse(fs.readFileSync(path.join(root, "native/sources.json"), "utf8"));
const objectFolder = path.resolve(root, options.out);
const output = path.resolve(root, options.output);
const stamp = JSON.stringify([compiler, compilerArgs, common]);
const units = [
  ...sources.core.map((file) => ({ file, flags: ["-fno-exceptions"] })),
  ...sources.binding.map((file) => ({ file, flags: [] })),
].map((unit) => ({ ...unit, object: path.join(objectFolder, `${unit.file}.o`) }));

const waiting = units.filter((unit) => stale(unit.object, stamp + unit.flags));
// Largest first: the vector kernels take longest, and the last file to start decides when the build ends.
waiting.sort((a, b) => Number(/_avx512|_avx2/.test(b.file)) - Number(/_avx512|_avx2/.test(a.file)));
let done = 0;
const total = waiting.length;
async function worker() {
  for (let unit = waiting.shift(); unit; unit = waiting.shift()) {
    fs.mkdirSync(path.dirname(unit.object), { recursive: true });
    await run([...common, ...unit.flags, "-MMD", "-MF", `${unit.object}.d`, "-c", unit.file, "-o", unit.object]);
    fs.writeFileSync(`${unit.object}.flags`, stamp + unit.flags);
    done += 1;
    if (process.stdout.isTTY) process.stdout.write(`\r[${done}/${total}] ${unit.file}\x1b[K`);
  }
}
try {
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
  if (process.stdout.isTTY && total > 0) process.stdout.write("\n");
  if (total > 0 || units.some((unit) => modified(unit.object) > modified(output)) || !fs.existsSync(output)) {
    fs.mkdirSync(path.dirname(output), { recursive: true });
    const temporary = `${output}.${process.pid}.tmp`;
    await run([...units.map((unit) => unit.object), ...linkFlags, "-o", temporary]);
    fs.renameSync(temporary, output);
  }
  console.log(`${path.relative(root, output)}: ${total} of ${units.length} files compiled`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
