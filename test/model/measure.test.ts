// What tells a user how fast a model is and where the time goes. Speed itself is not judged here.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { layerTimes, phaseTimes, traceEvents } from "../../lib/generate/profile.ts";
import { load, type Model } from "../../lib/index.ts";
import { run } from "../support/command.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
beforeAll(async () => {
  model = await load(tinyModel, { threads: 2 });
});
afterAll(() => model.dispose());

const root = path.resolve(import.meta.dirname, "../..");

test("measure reports speeds, the cost curve, the limit and the kernels", async () => {
  const found = await model.measure({ promptTokens: 64, decodeTokens: 8, rows: [1, 2, 7], repetitions: 2 });
  expect(found.costCurve.map(({ rows }) => rows)).toEqual([1, 2, 7]);
  expect(found.costCurve[0].cost).toBe(1);
  for (const { seconds, cost } of found.costCurve) expect(seconds * cost).toBeGreaterThan(0);
  expect(found.prefillTokensPerSecond).toBeGreaterThan(0);
  expect(found.decodeTokensPerSecond).toBeGreaterThan(0);
  expect(found.boundTokensPerSecond).toBeCloseTo((found.bandwidthGBps * 1e9) / model.info.weightBytes, 3);
  expect(found.boundFraction).toBeCloseTo(found.decodeTokensPerSecond / found.boundTokensPerSecond, 6);
  expect(Number.isFinite(found.overheadMicroseconds)).toBe(true);
  expect(Object.keys(found.kernels)).toContain("attention");
});

test("measure refuses what it cannot measure, and ends when it is told to", async () => {
  for (const options of [
    { rows: [0] },
    { rows: [257] },
    { promptTokens: 1 << 20 },
    { repetitions: 0 },
    { row: [1] } as never,
  ]) {
    await expect(model.measure(options)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
  }
  const reason = new Error("enough");
  await expect(model.measure({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("a profile adds up by phase and by layer", () => {
  const profile = {
    phases: ["a", "b"],
    phase: Uint8Array.of(0, 1, 0, 1),
    layer: Int16Array.of(0, -1, 1, 0),
    thread: Int16Array.of(0, 0, 0, 1),
    begin: Float64Array.of(0, 10, 20, 0),
    end: Float64Array.of(5, 20, 25, 100),
  };
  expect(phaseTimes(profile)).toEqual([
    { phase: "a", calls: 2, microseconds: 10, share: 0.5 },
    { phase: "b", calls: 1, microseconds: 10, share: 0.5 },
  ]);
  expect(layerTimes(profile)).toEqual([5, 5]);
  expect(traceEvents(profile)[2]).toEqual({
    ...{ name: "a", ph: "X", ts: 20, dur: 5, tid: 0, pid: process.pid },
    args: { layer: 1 },
  });
});

test("OUTRIDER_PROFILE prints a table and writes a trace when the process ends", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "outrider-profile-"));
  try {
    const trace = path.join(folder, "trace.json");
    const { status, stderr } = await run(
      process.execPath,
      [path.join(root, "dist/cli/main.js"), "generate", "-m", tinyModel, "The sea", "--max-tokens", "8"],
      { env: { ...process.env, OUTRIDER_PROFILE: trace } },
    );
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/gate-up +\d+ .* ms .* us .* %/);
    const { traceEvents: events } = JSON.parse(readFileSync(trace, "utf8"));
    const names = new Set(events.map(({ name }: { name: string }) => name));
    for (const name of ["qkv", "attention", "output", "gate-up", "down", "head"]) expect(names).toContain(name);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("outrider bench prints for people and for machines", async () => {
  const bench = (...args: string[]) =>
    run(process.execPath, [path.join(root, "dist/cli/main.js"), "bench", "-m", tinyModel, ...args]);
  const { stdout, status, stderr } = await bench("--json", "--threads", "2");
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    model: { family: "llama" },
    decodeTokensPerSecond: expect.any(Number),
    costCurve: expect.any(Array),
  });
  expect((await bench("--threads", "1")).stdout).toMatch(/decode +[\d.]+ tokens\/s[\s\S]*rows +ms a call/);
});
