// One list of native sources for every build, and the builds agree.
import { execFile, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { OutriderError } from "../../lib/errors.ts";
import { loadAddon } from "../../lib/load-addon.ts";

const root = path.resolve(import.meta.dirname, "../..");

test("sources.json lists every source file and nothing else", () => {
  const { core, binding } = JSON.parse(readFileSync(path.join(root, "native/sources.json"), "utf8"));
  const found = readdirSync(path.join(root, "native"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.name.endsWith(".cpp"))
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)));
  expect([...core, ...binding].sort()).toEqual(found.sort());
  expect(binding.every((file: string) => file.startsWith("native/binding/"))).toBe(true);
});

test("both build files read the list", () => {
  for (const file of ["binding.gyp", "native/CMakeLists.txt"]) {
    const text = readFileSync(path.join(root, file), "utf8");
    expect(text).toContain("sources.json");
    expect(text).not.toMatch(/\w\.cpp/);
  }
});

const cmake = spawnSync("cmake", ["--version"]).status === 0;

test.skipIf(!cmake)(
  "node-gyp's and CMake's addon export the same names (skipped without cmake)",
  async () => {
    const env = { ...process.env };
    for (const key of Object.keys(env)) if (key.startsWith("npm_")) delete env[key]; // as from a shell
    const args = ["cmake-js", "compile", "--directory", "native", "--out", "build/cmake"];
    // Asynchronous: it takes a minute, and the test runner wants to hear from us.
    await promisify(execFile)("npx", args, { cwd: root, env, maxBuffer: 1 << 26 });
    const names = (file: string) => {
      const code = `console.log(JSON.stringify(Object.keys(require(${JSON.stringify(path.join(root, file))})).sort()))`;
      return JSON.parse(spawnSync(process.execPath, ["-e", code], { encoding: "utf8" }).stdout);
    };
    const expected = names("build/Release/outrider.node");
    expect(expected.length).toBeGreaterThan(15);
    expect(names("build/cmake/Release/outrider.node")).toEqual(expected);
  },
  600_000,
);

test("a failed load names machine, paths, causes and the remedy", () => {
  const machine = { platform: "linux", arch: "x64", glibc: "2.27", node: "v20.19.0" };
  const failure = (candidates: string[], where = machine, checkout = false, explicit = "") => {
    try {
      loadAddon(candidates, where, checkout, explicit);
    } catch (error) {
      expect(error).toBeInstanceOf(OutriderError);
      return (error as OutriderError).message;
    }
    throw new Error("loaded");
  };
  expect(failure(["/nowhere/outrider.node"])).toMatch(
    /linux-x64, glibc 2\.27, Node v20\.19\.0[\s\S]*\/nowhere\/outrider\.node: no such file[\s\S]*npm install outrider/,
  );
  expect(failure(["/nowhere/a.node"], machine, true)).toContain("npm run build:native");
  expect(failure(["/nowhere/a.node"], { ...machine, platform: "win32" })).toContain("linux-x64 only");
  // Building again would not help where the environment names the file.
  const named = failure(["/nowhere/a.node"], machine, true, "/nowhere/a.node");
  expect(named).toMatch(/Unset OUTRIDER_NATIVE_PATH, which is "\/nowhere\/a\.node"/);
  expect(named).not.toContain("npm run");
  const broken = path.join(import.meta.dirname, "build.test.ts");
  expect(failure([broken])).toContain(broken);
});
