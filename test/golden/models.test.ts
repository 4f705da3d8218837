// Real models against PyTorch: logits, greedy continuations and perplexity, in float arithmetic and with int8 activations.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { load } from "../../lib/index.ts";
import { describeShared } from "../support/shared.ts";
import { readTensor, worstDifference } from "../support/tensors.ts";

const models = [
  ["tiny-target", "tiny-target", 8],
  ["tiny-draft", "tiny-draft", 8],
  // Three windows keep the suite short; `outrider perplexity` runs them all.
  ["smollm2-135m-instruct", "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf", 3],
] as const;

describeShared("models", (shared) => {
  const json = (...parts: string[]) => JSON.parse(readFileSync(path.join(shared, ...parts), "utf8"));
  const perplexityOf = (nll: number[], tokens: number) =>
    Math.exp(nll.reduce((a, b) => a + b, 0) / (nll.length * tokens));

  for (const [name, file, windows] of models) {
    const location = path.join(shared, "models", file);
    const golden = json("golden", name, "perplexity.json");
    const text = readFileSync(path.join(shared, "text", golden.text), "utf8").slice(0, 120_000);
    const reference = perplexityOf(golden.nll_per_window.slice(0, windows), golden.predicted_per_window);

    test(`${name}: logits, greedy text and perplexity in float arithmetic`, async () => {
      const model = await load(location, { kv: "f32", activation: "float" });
      const { vocab } = model.info;
      const tensors = path.join(shared, "golden", name, "logits.safetensors");
      for (const [i, { ids }] of json("golden", name, "logits.json").entries()) {
        const { data } = await model.logits(ids);
        const top = await readTensor(tensors, `${i}.top_ids`);
        const ours = Float32Array.from(top, (id, at) => data[Math.floor(at / 32) * vocab + id]);
        expect(worstDifference(ours, await readTensor(tensors, `${i}.top_logits`)), `prompt ${i}`).toBeLessThan(2e-3);
      }
      for (const { ids, output_ids: output, top2_gap: gap, text: expected } of json("golden", name, "greedy.json")) {
        const result = await model.generate(ids, { maxTokens: output.length });
        const split = output.findIndex((id: number, at: number) => result.tokens[at] !== id);
        // Past a near tie the texts may differ for good; before one they may not.
        if (split >= 0) expect(gap[split]).toBeLessThan(2e-3);
        else expect(result.text.length).toBeLessThanOrEqual(expected.length);
      }
      const { perplexity } = await model.perplexity(text, { window: golden.window, maxWindows: windows });
      console.log(`${name}, float: perplexity ${((perplexity / reference - 1) * 100).toFixed(4)} % off`);
      expect(Math.abs(perplexity / reference - 1)).toBeLessThan(5e-4);
      await model.dispose();
    });

    test(`${name}: perplexity with f16 KV and int8 activations`, async () => {
      const model = await load(location);
      const { perplexity } = await model.perplexity(text, { window: golden.window, maxWindows: windows });
      console.log(`${name}, int8: perplexity ${((perplexity / reference - 1) * 100).toFixed(4)} % off`);
      expect(Math.abs(perplexity / reference - 1)).toBeLessThan(5e-3);
      // Weights keep their stored size: nothing is widened.
      const stored = Object.values(model.info.bytesByFormat).reduce((sum, bytes) => sum + bytes, 0);
      expect(model.info.weightBytes).toBeLessThan(stored * 1.1);
      await model.dispose();
    });
  }
});
