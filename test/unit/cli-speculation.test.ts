// outrider bench --speculation: prompts of a user's own, and files that are none.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { run } from "../support/command.ts";
import { tinyModel } from "../support/tiny.ts";

const main = path.resolve(import.meta.dirname, "../../dist/cli/main.js");
const folder = mkdtempSync(path.join(tmpdir(), "outrider-cli-speculation-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string) => {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
};
const bench = (...args: string[]) =>
  run(process.execPath, [main, "bench", "-m", tinyModel, "--speculation", "--rounds", "1", "-n", "24", ...args]);

describe("bench --speculation", () => {
  test("a prompt a line, as a table", async () => {
    const file = write("prompts.txt", "The cat sat on the mat. The cat sat on\n\n  \nOnce upon a time\n");
    const { status, stdout, stderr } = await bench("--prompts", file, "--drafters", "auto, ngram,recycle,suffix,copy");
    expect(status, stderr).toBe(0);
    const lines = stdout.trim().split("\n");
    expect(lines[0]).toMatch(/^drafters +tokens\/s +plain +ratio +tokens a drafted step +drafted +accepted/);
    expect(lines.slice(1).map((line) => line.split(/\s+/)[0])).toEqual(["auto", "ngram", "recycle", "suffix", "copy"]);
    for (const line of lines.slice(1)) expect(line).not.toContain("NaN");
  });

  test("conversations and prompts as JSON lines, with a draft model", async () => {
    const file = write(
      "prompts.jsonl",
      `${JSON.stringify({ prompt: "Once upon a time" })}\n${JSON.stringify({
        messages: [
          { role: "user", content: "Tell me a story." },
          { role: "assistant", content: "There was a cat." },
          { role: "user", content: "Go on." },
        ],
      })}\n`,
    );
    const { status, stdout, stderr } = await bench(
      "--prompts",
      file,
      "--json",
      "--draft-model",
      tinyModel,
      "-t",
      "0.8",
    );
    expect(status, stderr).toBe(0);
    const { prompts, rows } = JSON.parse(stdout);
    expect(prompts).toBe(2);
    expect(rows.map(({ drafters }: { drafters: string }) => drafters)).toEqual(["auto", "draft model"]);
    for (const row of rows) {
      expect(row.tokensPerSecond).toBeGreaterThan(0);
      expect(row.plainTokensPerSecond).toBeGreaterThan(0);
      expect(row.ratio).toBeGreaterThan(0);
      expect(row.accepted).toBeLessThanOrEqual(row.drafted);
      expect(row.meanAcceptedLength).toBeGreaterThanOrEqual(1);
    }
    expect(rows[1].accepted).toBe(rows[1].drafted); // a model that drafts for itself
  });

  test.each<[string, string, string[], number, RegExp]>([
    ["no prompts", "", [], 2, /Expected --prompts FILE beside --speculation/],
    ["an empty file", "empty.txt", [], 1, /Expected a prompt in .*empty\.txt, received none/],
    ["a file that is not there", "gone.txt", [], 1, /Expected a text file at .*gone\.txt, found none/],
    ["lines that are no JSON", "bad.jsonl", [], 1, /Expected JSON in line 2 of .*bad\.jsonl/],
    [
      "JSON of another kind",
      "other.jsonl",
      [],
      1,
      /Expected \{ "prompt": .* in line 1 of .*other\.jsonl, received \[1\]/,
    ],
    ["a conversation without a question", "talk.jsonl", [], 1, /in line 1 of .*talk\.jsonl/],
    ["unknown drafters", "good.txt", ["--drafters", "magic"], 2, /Expected auto, copy, ngram, .* received magic/],
    ["no rounds", "good.txt", ["--rounds", "0"], 2, /Expected at least one round/],
  ])("%s", async (_, name, args, code, message) => {
    const texts: Record<string, string> = {
      "empty.txt": "\n \n",
      "bad.jsonl": '{"prompt":"a"}\n{"prompt":',
      "other.jsonl": "[1]",
      "talk.jsonl": JSON.stringify({ messages: [{ role: "assistant", content: "a" }] }),
      "good.txt": "Once",
    };
    if (name in texts) write(name, texts[name]);
    const { status, stderr } = await bench(...(name ? ["--prompts", path.join(folder, name)] : []), ...args);
    expect(stderr).toMatch(message);
    expect(status).toBe(code);
  });
});
