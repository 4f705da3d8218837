// Every decoder family against logits and greedy continuations computed with PyTorch, on every CPU level of this machine.
import { readdirSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { native, want } from "../../lib/native.ts";
import { openRuntime } from "../support/runtime.ts";
import { describeShared } from "../support/shared.ts";
import { readTensor, worstDifference } from "../support/tensors.ts";

describeShared("families", (shared) => {
  const root = path.join(shared, "golden/families");
  for (const name of readdirSync(root)) {
    test.each(native.cpu().levels)(`${name} on %s`, async (level) => {
      const file = path.join(root, name, "golden.safetensors");
      const runtime = await openRuntime(path.join(root, name), { level });
      const { vocab } = runtime.spec;
      const ids = (await readTensor(file, "input_ids")) as Int32Array;
      const golden = (await readTensor(file, "logits")) as Float32Array;
      const cache = runtime.newCache();
      const { logits = new Float32Array() } = await runtime.step({
        caches: [cache],
        tokens: ids,
        sequence: new Int32Array(ids.length),
        wants: new Uint8Array(ids.length).fill(want.logits),
      });
      expect(logits.length).toBe(ids.length * vocab);
      const mean = golden.reduce((sum, value) => sum + value, 0) / golden.length;
      const deviation = Math.sqrt(golden.reduce((sum, value) => sum + (value - mean) ** 2, 0) / golden.length);
      expect(worstDifference(logits, golden) / deviation).toBeLessThan(2e-3);

      const greedy = (await readTensor(file, "greedy_ids")) as Int32Array;
      cache.truncate(0);
      let tokens = ids.slice(0, 24);
      const out: number[] = [];
      while (out.length < greedy.length) {
        const wants = new Uint8Array(tokens.length);
        wants[tokens.length - 1] = want.topk;
        const result = await runtime.step({
          caches: [cache],
          tokens,
          sequence: new Int32Array(tokens.length),
          wants,
          topK: 1,
        });
        tokens = Int32Array.of(result.topkIds?.[0] ?? -1);
        out.push(tokens[0]);
      }
      expect(out).toEqual(Array.from(greedy));
      await runtime.dispose();
    });
  }
});
