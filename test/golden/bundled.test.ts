// The models in this repository against PyTorch (test/golden/bundled/make.py): proof of the whole path in a plain clone. The small one
// on every CPU level, the default model on those that are fast enough.
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { load } from "../../lib/index.ts";
import { native } from "../../lib/native.ts";
import { tinyModel } from "../support/tiny.ts";

interface Golden {
  text: string;
  window: number;
  perplexity: number;
  prompts: {
    prompt: string;
    ids: number[];
    topIds: number[][];
    topLogits: number[][];
    greedy: number[];
    /** Of `greedy`. */
    text: string;
    gaps: number[];
  }[];
}
const nearTie = 2e-3;
const { levels } = native.cpu();
const fast = levels.filter((level) => level !== "ref");

describe.each([
  ["tiny", tinyModel, levels],
  ["smollm2-135m-instruct", undefined, fast.length > 0 ? fast : levels],
] as const)("%s", (name, source, on) => {
  const golden: Golden = JSON.parse(readFileSync(path.join(import.meta.dirname, `bundled/${name}.json`), "utf8"));

  test.each(on)("tokens, logits, greedy text and perplexity on %s", async (isa) => {
    const model = await load(source, { isa, kv: "f32", activation: "float" });
    const { vocab } = model.info;
    for (const { prompt, ids, topIds, topLogits, greedy, text, gaps } of golden.prompts) {
      expect(Array.from(model.tokenize(prompt))).toEqual(ids);
      const { data } = await model.logits(ids);
      topIds.forEach((row, t) => {
        for (const [i, id] of row.entries())
          expect(Math.abs(data[t * vocab + id] - topLogits[t][i])).toBeLessThan(2e-3);
      });
      const made = await model.generate(ids, { maxTokens: greedy.length, temperature: 0, ignoreEos: true });
      const split = greedy.findIndex((id, i) => made.tokens[i] !== id);
      if (split >= 0) expect(gaps[split]).toBeLessThan(nearTie);
      else expect(made.text).toBe(text);
    }
    const { perplexity } = await model.perplexity(golden.text, { window: golden.window });
    expect(Math.abs(perplexity / golden.perplexity - 1)).toBeLessThan(5e-4);
    await model.dispose();
  });

  test("perplexity with f16 KV and int8 activations", async () => {
    const model = await load(source);
    const { perplexity } = await model.perplexity(golden.text, { window: golden.window });
    expect(Math.abs(perplexity / golden.perplexity - 1)).toBeLessThan(5e-3);
    await model.dispose();
  });
});
