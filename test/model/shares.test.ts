// However many threads share a step, and wherever their shares end, logits have the same bits.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quantizeModel } from "../../lib/index.ts";
import type { RuntimeOptions } from "../../lib/model/runtime.ts";
import { native, want } from "../../lib/native.ts";
import { openRuntime } from "../support/runtime.ts";
import { tinyModel } from "../support/tiny.ts";

const work = mkdtempSync(path.join(tmpdir(), "outrider-shares-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));
// The down projection of the tiny model has 704 inputs: 11 groups of 64, 22 of 32, or one of all.
const shapes = { "8 bits, groups of 64": undefined, "4 bits, groups of 32": 32, "4 bits, rows": 1024 };
const folders: Record<string, string> = { "8 bits, groups of 64": tinyModel };
beforeAll(async () => {
  for (const [name, group] of Object.entries(shapes)) {
    if (group === undefined) continue;
    folders[name] = path.join(work, String(group));
    const options = { bits: 4, method: "rtn", blockEpochs: 0, distillSteps: 0, embeddings: 8, measure: false } as const;
    await quantizeModel(tinyModel, { ...options, group, out: folders[name] });
  }
});

/** Bits of the logits of every row of a text, evaluated in chunks of so many rows. */
async function bitsOf(folder: string, rows: number, options: Partial<RuntimeOptions>): Promise<Buffer> {
  const runtime = await openRuntime(folder, { ...options, kv: "f16" });
  const text = Int32Array.from({ length: 40 }, (_, i) => (i * 7919 + 13) % runtime.spec.vocab);
  const cache = runtime.newCache();
  const bits: Uint8Array[] = [];
  for (let at = 0; at < text.length; at += rows) {
    const tokens = text.subarray(at, at + rows);
    const shape = { sequence: new Int32Array(tokens.length), wants: new Uint8Array(tokens.length).fill(want.logits) };
    const { logits = new Float32Array() } = await runtime.step({ caches: [cache], tokens, ...shape });
    expect(logits.every(Number.isFinite)).toBe(true);
    bits.push(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength));
  }
  cache.dispose();
  await runtime.dispose();
  return Buffer.concat(bits);
}

const { levels } = native.cpu();
const kinds = Object.keys(shapes).flatMap((name) => [
  { name, activations: "int8", rounded: true },
  { name, activations: "float", rounded: false },
]);
describe.each([...new Set([levels[1] ?? levels[0], levels[levels.length - 1]])])("on %s", (level) => {
  test.each(kinds)("$name, $activations activations", async ({ name, rounded }) => {
    const alone = await bitsOf(folders[name], 5, { threads: 1, rounded, level });
    for (const threads of [2, 3, 11]) {
      for (const rows of [1, 5, 20]) {
        const shared = await bitsOf(folders[name], rows, { threads, rounded, level });
        expect(Buffer.compare(alone, shared), `${threads} threads, ${rows} rows`).toBe(0);
      }
    }
  });
});
