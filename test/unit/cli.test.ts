// The command line as a user runs it: output, exit codes, errors on one line, Ctrl-C.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";

const main = path.resolve(import.meta.dirname, "../../dist/cli/main.js");
const folder = mkdtempSync(path.join(tmpdir(), "outrider-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function outrider(args: string[], input = "") {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8", input });
  return { status, stdout, stderr };
}

describe("generate", () => {
  test("streams prompt and text; the same from standard input", () => {
    const args = ["generate", "--max-tokens", "20", "--temperature", "0"];
    const { status, stdout, stderr } = outrider([...args, "Once", "upon"]);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^Once upon.+\n$/s);
    expect(stderr).toBe("Loading...\n");
    expect(outrider(args, "Once upon").stdout).toBe(stdout);
  });

  test("--json prints one object", () => {
    const { stdout } = outrider([
      "generate",
      "--json",
      "--max-tokens",
      "5",
      "--seed",
      "3",
      "--temperature",
      "1",
      "Once",
    ]);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      text: expect.any(String),
      finishReason: "length",
      seed: 3,
      stats: { generatedTokens: 5 },
    });
  });

  test("Ctrl-C ends the text with exit code 130", async () => {
    const child = spawn(process.execPath, [main, "generate", "--ignore-eos", "--max-tokens", "1900", "Once"]);
    let text = "";
    let interrupted = false;
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.length > 30 && !interrupted) interrupted = child.kill("SIGINT");
    });
    expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(130);
    expect(text.endsWith("\n")).toBe(true);
  });

  test("a reader that leaves is no error", () => {
    const { status, stderr } = spawnSync(
      "sh",
      ["-c", `"${process.execPath}" "${main}" generate --ignore-eos --max-tokens 1500 Once | head -c 20 > /dev/null`],
      { encoding: "utf8" },
    );
    expect([status, stderr.replace("Loading...\n", "")]).toEqual([0, ""]);
  });
});

describe("chat", () => {
  test("answers each line of a pipe", () => {
    const { status, stdout, stderr } = outrider(["chat", "--max-tokens", "8"], "Hello\n\nAgain\n");
    expect(status, stderr).toBe(0);
    expect(stdout.split("\n").length).toBeGreaterThanOrEqual(3);
  });

  test("the first Ctrl-C stops an answer, one at the prompt leaves", async () => {
    const child = spawn(process.execPath, [main, "chat", "--ignore-eos", "--max-tokens", "1500"]);
    let text = "";
    let answers = 0;
    const bytesAtInterrupt: number[] = [];
    child.stdin.write("Hello\n");
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (answers < 2 && text.length - (bytesAtInterrupt.at(-1) ?? 0) > 60) {
        bytesAtInterrupt.push(text.length);
        answers += 1;
        child.kill("SIGINT");
        if (answers === 1) setTimeout(() => child.stdin.write("And again\n"), 300);
        else setTimeout(() => child.kill("SIGINT"), 300);
      }
    });
    const started = performance.now();
    expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(0);
    expect(answers).toBe(2);
    expect(performance.now() - started).toBeLessThan(30_000);
  });
});

describe("inspect, tokenize, perplexity, doctor", () => {
  test("inspect shows metadata, tensors and bytes by format", () => {
    const found = JSON.parse(outrider(["inspect", "--json"]).stdout);
    expect(found).toMatchObject({ kind: "folder", metadata: { model_type: "llama" } });
    expect(found.tensors.length).toBeGreaterThan(10);
    expect(Object.values(found.bytesByFormat as Record<string, number>).reduce((a, b) => a + b, 0)).toBeGreaterThan(
      3e6,
    );
    expect(outrider(["inspect"]).stdout).toContain("bytes by format");
  });

  test("tokenize gives ids and their texts", () => {
    const ids = JSON.parse(outrider(["tokenize", "--json", "Once upon"]).stdout);
    expect(ids.length).toBeGreaterThan(0);
    expect(outrider(["tokenize", "Once upon"]).stdout.trim().split("\n").length).toBe(ids.length);
  });

  test("perplexity scores a file", () => {
    const file = path.join(folder, "text.txt");
    writeFileSync(file, "Once upon a time there was a little dog. ".repeat(60));
    const result = JSON.parse(outrider(["perplexity", "--json", "--window", "128", "--max-windows", "2", file]).stdout);
    expect(result.windows.length).toBe(2);
    expect(result.perplexity).toBeGreaterThan(1);
    expect(outrider(["perplexity", path.join(folder, "none")]).status).toBe(1);
  });

  test("doctor names the machine", () => {
    const found = JSON.parse(outrider(["doctor", "--json"]).stdout);
    expect(found).toMatchObject({ platform: expect.stringContaining("-"), level: expect.any(String) });
    expect(found.bandwidthGBps).toBeGreaterThan(0.1);
  });
});

describe("errors", () => {
  test.each<[string[], number, RegExp]>([
    [["generate", "-m", "no/such/thing/here", "a"], 1, /^outrider: Expected .+ \[OUTRIDER_NOT_FOUND\]\n$/],
    [["generate", "--temperature", "-1", "a"], 2, /temperature.+\[OUTRIDER_ARGUMENT\]\n$/],
    [["generate", "--bogus"], 2, /unknown option/],
    [["generrate"], 2, /Did you mean generate/],
  ])("%j ends with %i", (args, status, message) => {
    const result = outrider(args);
    expect(result.status).toBe(status);
    expect(result.stderr.replace("Loading...\n", "")).toMatch(message);
    expect(result.stdout).toBe("");
  });

  test("--verbose shows the whole error", () => {
    const { stderr } = outrider(["--verbose", "generate", "-m", "no/such/thing/here", "a"]);
    expect(stderr.split("\n").length).toBeGreaterThan(3);
  });
});
