// The command line as a user runs it: output, exit codes, errors on one line, Ctrl-C.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { run } from "../support/command.ts";
import { tinyModel } from "../support/tiny.ts";

const main = path.resolve(import.meta.dirname, "../../dist/cli/main.js");
const folder = mkdtempSync(path.join(tmpdir(), "outrider-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tiny = ["-m", tinyModel];
const outrider = (args: string[], input = "") => run(process.execPath, [main, ...args], { input });

describe("generate", () => {
  test("streams prompt and text; the same from standard input", async () => {
    const args = ["generate", ...tiny, "--max-tokens", "20", "--temperature", "0"];
    const { status, stdout, stderr } = await outrider([...args, "Once", "upon"]);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^Once upon.+\n$/s);
    expect(stderr).toBe("Loading...\n");
    expect((await outrider(args, "Once upon")).stdout).toBe(stdout);
  });

  test("--json prints one object", async () => {
    const { stdout } = await outrider([
      "generate",
      ...tiny,
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

  test("--approximate names a rule", async () => {
    const args = ["generate", ...tiny, "--json", "--max-tokens", "12", "Once", "--approximate"];
    const { status, stdout, stderr } = await outrider([...args, "relaxed"]);
    expect(status, stderr).toBe(0);
    expect(JSON.parse(stdout).stats.speculation.approximate).toMatchObject({ rule: "relaxed" });
    expect(await outrider([...args, "loose"])).toMatchObject({ status: 2, stdout: "" });
  });

  test("Ctrl-C ends the text with exit code 130", async () => {
    const child = spawn(process.execPath, [main, "generate", ...tiny, "--ignore-eos", "--max-tokens", "1900", "Once"]);
    let text = "";
    let interrupted = false;
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (text.length > 30 && !interrupted) interrupted = child.kill("SIGINT");
    });
    expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(130);
    expect(text.endsWith("\n")).toBe(true);
  });

  test("--seed takes what the API takes", async () => {
    const seedOf = async (seed: string) =>
      JSON.parse((await outrider(["generate", ...tiny, "--json", "--max-tokens", "1", "--seed", seed, "Once"])).stdout)
        .seed;
    expect(await seedOf("-1")).toBe("18446744073709551615");
    expect(await seedOf("9007199254740993")).toBe("9007199254740993");
    expect(await outrider(["generate", ...tiny, "--seed", "1.5", "Once"])).toMatchObject({ status: 2, stdout: "" });
  });

  test("a reader that leaves is no error", async () => {
    const { status, stderr } = await run("sh", [
      "-c",
      `"${process.execPath}" "${main}" generate -m "${tinyModel}" --ignore-eos --max-tokens 1500 Once | head -c 20 > /dev/null`,
    ]);
    expect([status, stderr.replace("Loading...\n", "")]).toEqual([0, ""]);
  });
});

describe("quantize and compare", () => {
  test("a folder of few bits, and what it lost", async () => {
    const out = path.join(folder, "small");
    const text = path.resolve(import.meta.dirname, "../../README.md");
    const sizes = ["--tokens", "128", "--window", "64", "--method", "rtn", "--block-epochs", "0", "--bits", "4"];
    const args = ["quantize", tinyModel, "--out", out, "--calibration", text, ...sizes];
    const made = await outrider(args);
    expect(made.status, made.stderr).toBe(0);
    expect(made.stdout).toMatch(/small: [\d.]+ MiB, 4\.50 bits a weight.*\n.*part +lost %/s);
    expect(made.stderr).toContain("Quantising...");
    expect(await outrider(args)).toMatchObject({
      status: 2,
      stdout: "",
      stderr: expect.stringMatching(/empty or holds/),
    });
    const compare = ["compare", out, out, "--text", text, "--max-windows", "1", "--window", "32"];
    expect((await outrider(compare)).stdout).toMatch(/perplexity .*same likeliest token 100\.00 % of 31/s);
    expect(JSON.parse((await outrider([...compare, "--json"])).stdout)).toMatchObject({
      kl: { mean: 0 },
      top1: 1,
      tokens: 31,
    });
  });

  test("usage errors", async () => {
    expect(await outrider(["quantize"])).toMatchObject({ status: 2, stdout: "" });
    expect((await outrider(["quantize", "--out", path.join(folder, "x"), "--bits", "5"])).stderr).toMatch(
      /2, 3, 4, 8 for bits/,
    );
    const missing = await outrider(["compare", "a", "b", "--text", path.join(folder, "none.txt")]);
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringMatching(/Expected a text file/) });
  });
});

describe("chat", () => {
  test("answers each line of a pipe", async () => {
    const { status, stdout, stderr } = await outrider(["chat", ...tiny, "--max-tokens", "8"], "Hello\n\nAgain\n");
    expect(status, stderr).toBe(0);
    expect(stdout.split("\n").length).toBeGreaterThanOrEqual(3);
  });

  test("the first Ctrl-C stops an answer, one at the prompt leaves", async () => {
    const child = spawn(process.execPath, [main, "chat", ...tiny, "--ignore-eos", "--max-tokens", "1500"]);
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

const python = spawnSync("python3", ["-c", "import pty"]).status === 0;
if (!python) console.warn("skipped: Ctrl-C as a key of a terminal (needs python3 with pty)");

describe.skipIf(!python)("chat in a terminal", () => {
  const driver = path.resolve(import.meta.dirname, "../support/programs/terminal.py");
  const command = [process.execPath, main, "chat", ...tiny, "--ignore-eos", "--max-tokens", "1500"];
  const ctrlC = "\x03";

  /** Types each text after what it waits for was shown. */
  async function type(...steps: [string, string][]): Promise<{ shown: string; code: number | null; left: number }> {
    const args = [driver, "40", JSON.stringify(steps), ...command];
    return JSON.parse((await run("python3", args)).stdout);
  }

  test.each<[string, [string, string][]]>([
    [
      "twice at once during an answer",
      [
        ["> ", "Hello\r"],
        ["\n", ctrlC + ctrlC],
      ],
    ],
    [
      "twice at once, with a line typed ahead",
      [
        ["> ", "Hello\r"],
        ["\n", `And then?\r${ctrlC}${ctrlC}`],
      ],
    ],
    [
      "once during an answer and once at the prompt it comes back to",
      [
        ["> ", "Hello\r"],
        ["\n", ctrlC],
        ["> ", ctrlC],
      ],
    ],
    ["at the first prompt", [["> ", ctrlC]]],
  ])("Ctrl-C %s leaves", async (_, steps) => {
    expect(await type(...steps)).toMatchObject({ code: 0, left: 0 });
  });
});

test("a chat whose context is full says so and goes on without its older part", async () => {
  const lines = Array.from({ length: 6 }, (_, i) => `Tell me about the dog number ${i}.`);
  const chat = (...input: string[]) =>
    outrider(["chat", ...tiny, "--context", "96", "--max-tokens", "12", "--ignore-eos"], `${input.join("\n")}\n`);
  const { status, stdout, stderr } = await chat(...lines);
  expect(status, stderr).toBe(0);
  expect(stderr).toContain("The context of 96 tokens is full: the conversation goes on without its older part.\n");
  expect(stdout.trim().length).toBeGreaterThan(50);
  // One message that is too long is told apart from a long conversation, and does not end it.
  const long = await chat("dog ".repeat(200), "Hello");
  expect(long.status, long.stderr).toBe(0);
  expect(long.stderr).toBe("Loading...\nThis message does not fit the context of 96 tokens.\n");
  expect(long.stdout.trim().length).toBeGreaterThan(5);
});

describe("Ctrl-C ends every command with exit code 130 and no word of it", () => {
  const text = path.join(folder, "long.txt");
  writeFileSync(text, "Once upon a time there was a little dog. ".repeat(20_000));
  const long = ["--ignore-eos", "--max-tokens", "1900", "Once"];

  /** Interrupts when `after` was printed to stderr, or after milliseconds. */
  async function interrupted(after: string | number, ...args: string[]) {
    const child = spawn(process.execPath, [main, ...args]);
    let stderr = "";
    let stdout = "";
    let sent = false;
    const send = () => {
      if (!sent) sent = child.kill("SIGINT");
    };
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
      if (typeof after === "string" && stderr.includes(after)) send();
    });
    if (typeof after === "number") setTimeout(send, after);
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
      child.once("close", (code, signal) => resolve([code, signal])),
    );
    return { code, signal, stdout, stderr: stderr.replace(/^(Loading|Scoring)\.\.\.\n/gm, "") };
  }
  const silent = { code: 130, signal: null, stdout: "", stderr: "" };

  test("perplexity", async () => {
    expect(await interrupted("Scoring", "perplexity", ...tiny, text)).toEqual(silent);
  });

  test("generate --json", async () => {
    expect(await interrupted("Loading", "generate", ...tiny, "--json", ...long)).toEqual(silent);
  });

  test("generate while the model loads and while it waits for a prompt", { retry: 3 }, async () => {
    expect(await interrupted("Loading", "generate", ...tiny, ...long)).toMatchObject({ code: 130, stderr: "" });
    expect(await interrupted(700, "generate", ...tiny)).toEqual(silent);
  });

  test("doctor", { retry: 3 }, async () => {
    expect(await interrupted(500, "doctor")).toEqual(silent);
  });
});

describe("without the addon", () => {
  const without = (...args: string[]) => {
    const env = { ...process.env, OUTRIDER_NATIVE_PATH: "/no/where.node" };
    return run(process.execPath, [main, ...args], { env });
  };

  test("a command prints one line", async () => {
    const { status, stdout, stderr } = await without("generate", "Once");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(
      /^outrider: Cannot load .+; \/no\/where\.node: no such file; Unset OUTRIDER_NATIVE_PATH.+ \[OUTRIDER_ADDON\]\n$/,
    );
    expect((await without("--verbose", "generate", "Once")).stderr).toContain("    at ");
  });

  test("doctor still says what it found", async () => {
    const { status, stdout } = await without("doctor");
    expect(status).toBe(1);
    for (const line of [
      /^platform +linux-/m,
      /^tried +\/no\/where.node: no such file$/m,
      /^remedy +Unset OUTRIDER_NATIVE_PATH/m,
    ])
      expect(stdout).toMatch(line);
    expect(JSON.parse((await without("doctor", "--json")).stdout)).toMatchObject({
      addon: null,
      tried: [{ path: "/no/where.node", cause: "no such file" }],
      remedy: expect.stringContaining("OUTRIDER_NATIVE_PATH"),
    });
  });
});

test("OUTRIDER_ISA with an unknown name: commands refuse it, doctor tells", async () => {
  const env = { ...process.env, OUTRIDER_ISA: "avx1024" };
  const unknown = (...args: string[]) => run(process.execPath, [main, ...args], { env });
  expect(await unknown("generate", "Once")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/OUTRIDER_ISA, received "avx1024" \[OUTRIDER_ARGUMENT\]\n$/),
  });
  expect((await unknown("doctor")).stdout).toMatch(/OUTRIDER_ISA names no known level/);
});

describe("inspect, tokenize, perplexity, doctor", () => {
  test("inspect shows metadata, tensors and bytes by format", async () => {
    const found = JSON.parse((await outrider(["inspect", tinyModel, "--json"])).stdout);
    expect(found).toMatchObject({ kind: "folder", metadata: { model_type: "llama" } });
    expect(found.tensors.length).toBeGreaterThan(10);
    expect(Object.values(found.bytesByFormat as Record<string, number>).reduce((a, b) => a + b, 0)).toBeGreaterThan(
      3e6,
    );
    expect((await outrider(["inspect", tinyModel])).stdout).toContain("bytes by format");
  });

  test("tokenize gives ids and their texts", async () => {
    const ids = JSON.parse((await outrider(["tokenize", ...tiny, "--json", "Once upon"])).stdout);
    expect(ids.length).toBeGreaterThan(0);
    expect((await outrider(["tokenize", ...tiny, "Once upon"])).stdout.trim().split("\n").length).toBe(ids.length);
  });

  test("perplexity scores a file", async () => {
    const file = path.join(folder, "text.txt");
    writeFileSync(file, "Once upon a time there was a little dog. ".repeat(60));
    const result = JSON.parse(
      (await outrider(["perplexity", ...tiny, "--json", "--window", "128", "--max-windows", "2", file])).stdout,
    );
    expect(result.windows.length).toBe(2);
    expect(result.perplexity).toBeGreaterThan(1);
    expect(await outrider(["perplexity", ...tiny, path.join(folder, "none")])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/none, found none \[OUTRIDER_NOT_FOUND\]\n$/),
    });
  });

  test("doctor names the machine", async () => {
    const found = JSON.parse((await outrider(["doctor", "--json"])).stdout);
    expect(found).toMatchObject({ platform: expect.stringContaining("-"), level: expect.any(String) });
    expect(found.bandwidthGBps).toBeGreaterThan(0.1);
  });
});

describe("errors", () => {
  test.each<[string[], number, RegExp]>([
    [["generate", "-m", "no/such/thing/here", "a"], 1, /^outrider: Expected .+ \[OUTRIDER_NOT_FOUND\]\n$/],
    [["generate", ...tiny, "--temperature", "-1", "a"], 2, /temperature.+\[OUTRIDER_ARGUMENT\]\n$/],
    [["generate", ...tiny, "--bogus"], 2, /unknown option/],
    [["generrate"], 2, /Did you mean generate/],
  ])("%j ends with %i", async (args, status, message) => {
    const result = await outrider(args);
    expect(result.status).toBe(status);
    expect(result.stderr.replace("Loading...\n", "")).toMatch(message);
    expect(result.stdout).toBe("");
  });

  test("--verbose shows the whole error", async () => {
    const { stderr } = await outrider(["--verbose", "generate", "-m", "no/such/thing/here", "a"]);
    expect(stderr.split("\n").length).toBeGreaterThan(3);
  });
});
