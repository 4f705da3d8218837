// load(path, { weights }): quantised once, then taken from the disk.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { type LoadProgress, load } from "../../lib/index.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

const folder = mkdtempSync(path.join(tmpdir(), "outrider-on-load-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let runs = 0;
let cache = "";
beforeEach(() => {
  cache = path.join(folder, `cache-${runs++}`);
  vi.stubEnv("OUTRIDER_CACHE", cache);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});
const kept = () => readdirSync(path.join(cache, "quantized"));

test("4 bits by rounding: made once, with a warning, and nearly the model", async () => {
  const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  const phases: string[] = [];
  const onProgress = ({ phase, loaded, total }: LoadProgress) => {
    expect(loaded).toBeLessThanOrEqual(total);
    phases.push(phase);
  };
  const small = await load(tinyModel, { weights: { bits: 4, group: 32 }, onProgress });
  expect(warn).toHaveBeenCalledOnce();
  expect(warn.mock.calls[0][0]).toMatch(/tiny in 4 bits .*loses quality.*outrider quantize/);
  expect(new Set(phases)).toEqual(new Set(["quantization", "weights"]));
  const [name] = kept();
  expect(name).toMatch(/^tiny-4bit-g32-[0-9a-f]{40}$/);
  const file = path.join(cache, "quantized", name, "model.safetensors");
  const before = statSync(file);

  phases.length = 0;
  const again = await load(tinyModel, { weights: { bits: 4, group: 32 }, onProgress });
  expect(phases).not.toContain("quantization");
  expect(statSync(file)).toMatchObject({ ino: before.ino, mtimeMs: before.mtimeMs });
  const original = await load(tinyModel);
  const text = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8").slice(0, 3000);
  const [a, b, c] = await Promise.all([original, small, again].map((model) => model.perplexity(text, { window: 128 })));
  expect(b.perplexity).toBe(c.perplexity);
  expect(b.perplexity / a.perplexity).toBeLessThan(1.3);
  expect(b.perplexity).not.toBe(a.perplexity);
  for (const model of [small, again, original]) await model.dispose();
  expect(kept()).toEqual([name]);
});

test("other settings and other contents are other models", async () => {
  vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  const own = path.join(folder, `model-${runs}`);
  cpSync(tinyModel, own, { recursive: true });
  await (await load(own, { weights: { bits: 8 } })).dispose();
  await (await load(own, { weights: { bits: 8, group: 32 } })).dispose();
  expect(kept().length).toBe(2);
  const config = path.join(own, "config.json");
  writeFileSync(config, `${readFileSync(config, "utf8")}\n`);
  await (await load(own, { weights: { bits: 8 } })).dispose();
  expect(kept().length).toBe(3);
});

test("what cannot be is refused by name, and an abort leaves nothing", async () => {
  const refused = (weights: object, message: RegExp) =>
    expect(load(tinyModel, { weights } as never)).rejects.toEqual(code("OUTRIDER_ARGUMENT", message));
  await refused({ bits: 5 }, /2, 3, 4 or 8 for weights\.bits, received 5/);
  await refused({ bits: 4, group: 0 }, /weights\.group/);
  await refused({ bits: 4, method: "gptq" }, /weights\.method/);
  await refused({ bits: 4, groups: 32 }, /only bits, group, method for weights/);
  vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  const controller = new AbortController();
  const reason = new Error("enough");
  const running = load(tinyModel, {
    ...{ weights: { bits: 2 }, signal: controller.signal },
    onProgress: ({ phase }) => phase === "quantization" && controller.abort(reason),
  });
  await expect(running).rejects.toBe(reason);
  expect(kept()).toEqual([]);
});
