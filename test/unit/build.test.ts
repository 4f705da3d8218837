// One list of native sources for every build, and the builds agree.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
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

test("a failed load names machine, paths, causes and the remedy", () => {
  const machine = { platform: "linux", arch: "x64", glibc: "2.27", node: "v20.19.0" };
  const failure = (candidates: string[], where = machine, checkout = false) => {
    try {
      loadAddon(candidates, where, checkout);
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
  const broken = path.join(import.meta.dirname, "build.test.ts");
  expect(failure([broken])).toContain(broken);
});
