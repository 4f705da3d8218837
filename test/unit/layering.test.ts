// Imports run one way only. The tables are those of ARCHITECTURE.md.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** Rooms each room may import; files at the top of lib/ are rooms of their own. */
const lib: Record<string, string[]> = {
  "errors.ts": [],
  "load-addon.ts": ["errors.ts"],
  native: [],
  "native.ts": ["native", "load-addon.ts", "errors.ts"],
  tensor: ["native.ts", "errors.ts"],
  ops: ["tensor", "native.ts", "errors.ts"],
  cache: ["ops", "tensor", "native.ts", "errors.ts"],
  model: ["cache", "ops", "tensor", "native.ts", "errors.ts"],
  load: ["tensor", "errors.ts"],
  text: ["errors.ts"],
  tree: ["errors.ts"],
  verify: ["tree", "errors.ts"],
  draft: ["tree", "errors.ts"],
  generate: [
    "draft",
    "verify",
    "tree",
    "model",
    "cache",
    "ops",
    "tensor",
    "load",
    "text",
    "native.ts",
    "load-addon.ts",
    "errors.ts",
  ],
  quantize: ["generate", "model", "load", "text", "tensor", "native.ts", "errors.ts"],
  "index.ts": ["quantize", "generate", "draft", "tree", "ops", "tensor", "text", "errors.ts"],
  cli: ["index.ts"],
};

const native: Record<string, string[]> = {
  base: [],
  cpu: ["base"],
  formats: ["base"],
  ops: ["formats", "cpu", "base"],
  model: ["ops", "formats", "cpu", "base"],
  quantize: ["model", "ops", "formats", "cpu", "base"],
  binding: ["quantize", "model", "ops", "formats", "cpu", "base"],
};

function filesBelow(folder: string, pattern: RegExp): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)));
}

describe("lib", () => {
  test.each(filesBelow("lib", /\.ts$/))("%s", (file) => {
    const room = file.split(path.sep)[1];
    expect(Object.keys(lib)).toContain(room);
    for (const [, target] of readFileSync(path.join(root, file), "utf8").matchAll(
      /(?:from|import)\s*\(?"(\.[^"]+)"/g,
    )) {
      const other = path
        .relative(path.join(root, "lib"), path.resolve(root, path.dirname(file), target))
        .split(path.sep)[0];
      if (other !== room) expect(lib[room], `${file} imports ${target}`).toContain(other);
    }
  });
});

describe("native", () => {
  test.each(filesBelow("native", /\.(h|cpp)$/))("%s", (file) => {
    const [, room, op] = file.split(path.sep);
    expect(Object.keys(native)).toContain(room);
    const text = readFileSync(path.join(root, file), "utf8");
    if (room !== "binding") expect(text).not.toMatch(/#include\s*<(napi|node_api)\.h>/);
    for (const [, target] of text.matchAll(/#include\s*"([^"]+)"/g)) {
      const [other, otherOp] = target.split("/");
      if (other !== room) expect(native[room], `${file} includes ${target}`).toContain(other);
      if (room === "ops" && other === "ops") expect(otherOp, `${file} includes another op`).toBe(op);
      if (file.endsWith("_ref.cpp")) expect(["ops", "base", "formats"], `${file} includes ${target}`).toContain(other);
    }
  });
});
