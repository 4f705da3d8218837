// The documents say what is true: commands and code run, codes and rooms exist.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorCodes } from "../../lib/errors.ts";
import { families } from "../../lib/model/families/index.ts";
import { run } from "../support/command.ts";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(path.join(root, file), "utf8");
const blocks = [...read("README.md").matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(([, language, code]) => ({
  language,
  code,
}));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "outrider-readme-"));
  mkdirSync(path.join(folder, "node_modules"));
  symlinkSync(root, path.join(folder, "node_modules/outrider"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("README", () => {
  const commands = blocks.filter(({ language }) => language === "sh").flatMap(({ code }) => code.trim().split("\n"));
  const isSetup = (command: string) => command.startsWith("npm install && ");

  test("the second command is what continuous integration runs", () => {
    expect(commands.filter(isSetup)).toHaveLength(2);
    expect(read(".ci/run")).toContain(commands.filter(isSetup)[1]);
  });

  // `npm install` has run, or this test would not; the rest of the first command runs here.
  test.each(
    commands
      .filter((command) => command !== "npm install && npm test")
      .map((command) => command.replace("npm install && ", "")),
  )("%s", async (command) => {
    const result = await run("bash", ["-c", command], { cwd: root });
    expect(result.status, result.stderr).toBe(0);
    expect(result.stdout.length).toBeGreaterThan(20);
  });

  test.each(blocks.filter(({ language }) => language === "js").map(({ code }, i) => [i, code] as const))(
    "code block %i",
    async (i, code) => {
      const file = path.join(folder, `block${i}.mjs`);
      writeFileSync(file, code);
      const result = await run(process.execPath, [file], { cwd: folder });
      expect(result.status, result.stderr).toBe(0);
      expect(result.stdout.length).toBeGreaterThan(10);
    },
  );

  test("names every family", () => {
    for (const { name } of families)
      expect(read("README.md")).toContain(name === "gemma3_text" ? "gemma3 (text)" : name);
  });
});

test("ARCHITECTURE.md lists every error code with its meaning", () => {
  const text = read("ARCHITECTURE.md");
  for (const [code, meaning] of Object.entries(errorCodes)) expect(text).toContain(`| \`${code}\` | ${meaning} |`);
  expect(text.match(/\| `OUTRIDER_/g)).toHaveLength(Object.keys(errorCodes).length);
});

test("CONTRIBUTING.md names files and scripts that exist", () => {
  const text = read("CONTRIBUTING.md");
  const { scripts } = JSON.parse(read("package.json"));
  for (const [, script] of text.matchAll(/npm run ([\w:]+)/g)) expect(Object.keys(scripts)).toContain(script);
  const files = [...text.matchAll(/`((?:lib|native|test|release)\/[\w./{},-]+)`/g)].map(([, file]) => file);
  expect(files.length).toBeGreaterThan(10);
  for (const file of files) {
    if (/NAME|LEVEL|VERSION/.test(file)) continue;
    const variants = file.includes("{")
      ? file
          .replace(/.*\{(.*)\}.*/, "$1")
          .split(",")
          .map((v) => file.replace(/\{.*\}/, v))
      : [file];
    for (const variant of variants) expect(existsSync(path.join(root, variant)), variant).toBe(true);
  }
});
