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

  test("--seed takes what the API takes", () => {
    const seedOf = (seed: string) =>
      JSON.parse(outrider(["generate", "--json", "--max-tokens", "1", "--seed", seed, "Once"]).stdout).seed;
    expect(seedOf("-1")).toBe("18446744073709551615");
    expect(seedOf("9007199254740993")).toBe("9007199254740993");
    expect(outrider(["generate", "--seed", "1.5", "Once"])).toMatchObject({ status: 2, stdout: "" });
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

describe("quantize and compare", () => {
  test("a folder of few bits, and what it lost", () => {
    const out = path.join(folder, "small");
    const text = path.resolve(import.meta.dirname, "../../README.md");
    const sizes = ["--tokens", "128", "--window", "64", "--method", "rtn", "--block-epochs", "0", "--bits", "4"];
    const args = ["quantize", "--out", out, "--calibration", text, ...sizes];
    const made = outrider(args);
    expect(made.status, made.stderr).toBe(0);
    expect(made.stdout).toMatch(/small: [\d.]+ MiB, 4\.50 bits a weight.*\n.*part +lost %/s);
    expect(made.stderr).toContain("Quantising...");
    expect(outrider(args)).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(/empty or holds/) });
    const compare = ["compare", out, out, "--text", text, "--max-windows", "1", "--window", "32"];
    expect(outrider(compare).stdout).toMatch(/perplexity .*same likeliest token 100\.00 % of 31/s);
    expect(JSON.parse(outrider([...compare, "--json"]).stdout)).toMatchObject({ kl: { mean: 0 }, top1: 1, tokens: 31 });
  });

  test("usage errors", () => {
    expect(outrider(["quantize"])).toMatchObject({ status: 2, stdout: "" });
    expect(outrider(["quantize", "--out", path.join(folder, "x"), "--bits", "5"]).stderr).toMatch(
      /2, 3, 4, 8 for bits/,
    );
    const missing = outrider(["compare", "a", "b", "--text", path.join(folder, "none.txt")]);
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringMatching(/Expected a text file/) });
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

const python = spawnSync("python3", ["-c", "import pty"]).status === 0;
if (!python) console.warn("skipped: Ctrl-C as a key of a terminal (needs python3 with pty)");

describe.skipIf(!python)("chat in a terminal", () => {
  const driver = path.resolve(import.meta.dirname, "../support/programs/terminal.py");
  const command = [process.execPath, main, "chat", "--ignore-eos", "--max-tokens", "1500"];
  const ctrlC = "\x03";

  /** Types each text after what it waits for was shown. */
  function type(...steps: [string, string][]): { shown: string; code: number | null; left: number } {
    const args = [driver, "40", JSON.stringify(steps), ...command];
    return JSON.parse(spawnSync("python3", args, { encoding: "utf8" }).stdout);
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
  ])("Ctrl-C %s leaves", (_, steps) => {
    expect(type(...steps)).toMatchObject({ code: 0, left: 0 });
  });
});

test("a chat whose context is full says so and goes on without its older part", () => {
  const lines = Array.from({ length: 6 }, (_, i) => `Tell me about the dog number ${i}.`);
  const chat = (...input: string[]) =>
    outrider(["chat", "--context", "96", "--max-tokens", "12", "--ignore-eos"], `${input.join("\n")}\n`);
  const { status, stdout, stderr } = chat(...lines);
  expect(status, stderr).toBe(0);
  expect(stderr).toContain("The context of 96 tokens is full: the conversation goes on without its older part.\n");
  expect(stdout.trim().length).toBeGreaterThan(50);
  // One message that is too long is told apart from a long conversation, and does not end it.
  const long = chat("dog ".repeat(200), "Hello");
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
    expect(await interrupted("Scoring", "perplexity", text)).toEqual(silent);
  });

  test("generate --json", async () => {
    expect(await interrupted("Loading", "generate", "--json", ...long)).toEqual(silent);
  });

  test("generate while the model loads and while it waits for a prompt", { retry: 3 }, async () => {
    expect(await interrupted("Loading", "generate", ...long)).toMatchObject({ code: 130, stderr: "" });
    expect(await interrupted(700, "generate")).toEqual(silent);
  });

  test("doctor", { retry: 3 }, async () => {
    expect(await interrupted(500, "doctor")).toEqual(silent);
  });
});

describe("without the addon", () => {
  const without = (...args: string[]) => {
    const env = { ...process.env, OUTRIDER_NATIVE_PATH: "/no/where.node" };
    return spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env });
  };

  test("a command prints one line", () => {
    const { status, stdout, stderr } = without("generate", "Once");
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(
      /^outrider: Cannot load .+; \/no\/where\.node: no such file; Unset OUTRIDER_NATIVE_PATH.+ \[OUTRIDER_ADDON\]\n$/,
    );
    expect(without("--verbose", "generate", "Once").stderr).toContain("    at ");
  });

  test("doctor still says what it found", () => {
    const { status, stdout } = without("doctor");
    expect(status).toBe(1);
    for (const line of [
      /^platform +linux-/m,
      /^tried +\/no\/where.node: no such file$/m,
      /^remedy +Unset OUTRIDER_NATIVE_PATH/m,
    ])
      expect(stdout).toMatch(line);
    expect(JSON.parse(without("doctor", "--json").stdout)).toMatchObject({
      addon: null,
      tried: [{ path: "/no/where.node", cause: "no such file" }],
      remedy: expect.stringContaining("OUTRIDER_NATIVE_PATH"),
    });
  });
});

test("OUTRIDER_ISA with an unknown name: commands refuse it, doctor tells", () => {
  const env = { ...process.env, OUTRIDER_ISA: "avx1024" };
  const run = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: "utf8", env });
  expect(run("generate", "Once")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/OUTRIDER_ISA, received "avx1024" \[OUTRIDER_ARGUMENT\]\n$/),
  });
  expect(run("doctor").stdout).toMatch(/OUTRIDER_ISA names no known level/);
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
    expect(outrider(["perplexity", path.join(folder, "none")])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/none, found none \[OUTRIDER_NOT_FOUND\]\n$/),
    });
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
