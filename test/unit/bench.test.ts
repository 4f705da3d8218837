// The benchmark frame prints what it documents. Speed is not judged here.
import path from "node:path";
import { expect, test } from "vitest";
import { run } from "../support/command.ts";

const root = path.resolve(import.meta.dirname, "../..");
// As the README calls it: with -s, nothing but the benchmark's own output.
const bench = (...args: string[]) => run("npm", ["run", "-s", "bench", "--", ...args], { cwd: root });

const number = expect.any(Number);

test.each(["attention", "decode", "speculation"])("%s --quick --json", async (suite) => {
  const { stdout, status, stderr } = await bench(suite, "--quick", "--json");
  expect(status, stderr).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toEqual({
    suite,
    machine: { cpu: expect.any(String), cores: number, isa: expect.any(String), bandwidthGBps: number },
    rows: expect.any(Array),
  });
  expect(report.rows.length).toBeGreaterThan(1);
  for (const row of report.rows) {
    expect(row).toMatchObject({
      id: expect.stringMatching(new RegExp(`^${suite}/`)),
      value: number,
      unit: expect.any(String),
    });
    // Where nothing was drafted or taken there is nothing to count.
    const counts = /\/(drafted|steps|at\d+)$/.test(row.id);
    expect(row.value).toBeGreaterThanOrEqual(0);
    if (!counts) expect(row.value).toBeGreaterThan(0);
    if ("baseline" in row) expect(row.ratio).toBeGreaterThan(0);
    if ("limit" in row) expect(row.fraction).toBeGreaterThan(0);
  }
  expect(new Set(report.rows.map((row: { id: string }) => row.id)).size).toBe(report.rows.length);
});

test("an unknown suite ends with exit code 2 and says which there are", async () => {
  const { status, stderr } = await bench("speed");
  expect(status).toBe(2);
  expect(stderr).toContain("gemm, attention, rounding, decode, crowd, speculation, peers");
});
