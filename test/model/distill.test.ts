// End-to-end distillation: gradients through whole models, what it brings, and that it can be stopped anywhere.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { compareModels, load, quantizeModel } from "../../lib/index.ts";
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { native, type QuantizedMatrix } from "../../lib/native.ts";
import { fromF16, toF16 } from "../../lib/tensor/dtype.ts";
import { contents } from "../support/contents.ts";
import { settled } from "../support/settled.ts";
import { describeShared } from "../support/shared.ts";
import { readTensor } from "../support/tensors.ts";
import { tinyModel } from "../support/tiny.ts";

const folder = mkdtempSync(path.join(tmpdir(), "outrider-distill-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let runs = 0;
const fresh = () => path.join(folder, `run-${runs++}`);
const text = path.join(folder, "text.txt");
writeFileSync(text, readFileSync(path.resolve(import.meta.dirname, "../../README.md"), "utf8"));
const small = {
  ...{ calibration: [text], tokens: 512, window: 64, blockEpochs: 1 },
  method: "gptq",
  ...{ distillSteps: 24, distillTokens: 1024 },
} as const;

describeShared("gradients through whole models", (shared) => {
  const models = path.join(shared, "golden/families");
  test.each(["llama-tied", "llama-untied-bias", "llama3-rope", "mistral-window", "qwen2", "qwen3", "smollm3-nope"])(
    "%s",
    async (name) => {
      const source = path.join(models, name);
      const ids = (await readTensor(path.join(source, "golden.safetensors"), "input_ids")) as Int32Array;
      const tokens = ids.subarray(0, 48);
      const files = await openSource(source);
      const config = specFromConfig(files.config ?? {});
      const map = mapWeights(config, files.tensors, files.kind, files.config);
      const { spec } = config;
      const model = { spec, weights: map.weights, files: map.files, tokens, lengths: Int32Array.of(48), threads: 2 };
      const shape = { bits: 3, group: 16 } as const;
      const quantizer = await settled(native.quantizer(model));
      const layers: (QuantizedMatrix & { bits: 3 })[][] = [];
      for (const _ of spec.layers) {
        const parts = Array.from({ length: 7 }, () => ({ ...shape, method: "rtn" as const, rounds: 1 }));
        const block = await settled(quantizer.block({ parts, epochs: 0, rate: 0, seed: 0 }));
        layers.push(block.parts.map((part) => ({ ...(part as QuantizedMatrix), ...shape })));
      }
      const distiller = async (norms?: { layer: number; values: Float32Array[] }) => {
        const options = { tableBits: 16, tableGroup: 32, seed: 0, rate: 0.01, steps: 4 } as const;
        const made = await settled(native.distiller({ ...model, ...options }));
        for (const [l, parts] of layers.entries())
          await settled(made.block({ parts, norms: norms?.layer === l ? norms.values : undefined }));
        await settled(made.ready());
        return made;
      };
      const loss = async (norms?: { layer: number; values: Float32Array[] }) =>
        settled((await distiller(norms)).divergence(1));
      const base = await distiller();
      const found = await settled(base.gradients(0));
      expect(found.loss).toBeGreaterThan(1e-4);
      expect(found.loss).toBeCloseTo(await loss(), 10);

      // All scales, then all zeros, of a matrix a little along the signs of their gradients: the loss changes by the sum of gradient times
      // change, up to the third order of the step and the noise of f32 sums.
      const close = (measured: number, predicted: number, what: string) =>
        expect(Math.abs(measured / predicted - 1), `${what}: ${measured}, expected ${predicted}`).toBeLessThan(0.05);
      const last = layers.length - 1;
      for (const layer of new Set([0, last])) {
        for (let part = 0; part < 7; part++) {
          const middle = 3.5; // of codes of 3 bits
          const { scale: dScale, middle: dMiddle } = found.blocks[layer];
          for (const kind of ["scale", "zero"] as const) {
            const before = layers[layer][part][kind];
            const slope = (i: number) =>
              kind === "zero" ? dMiddle[part][i] : dScale[part][i] + middle * dMiddle[part][i];
            let predicted = 0;
            const moved = (sign: number) =>
              before.map((bits, i) => {
                const to = toF16(
                  fromF16(bits) + sign * Math.sign(slope(i)) * 2 ** -9 * fromF16(layers[layer][part].scale[i]),
                );
                predicted += sign * (fromF16(to) - fromF16(bits)) * slope(i);
                return to;
              });
            const values = [moved(1), moved(-1)];
            const losses: number[] = [];
            for (const value of values) {
              layers[layer][part] = { ...layers[layer][part], [kind]: value };
              losses.push(await loss());
            }
            layers[layer][part] = { ...layers[layer][part], [kind]: before };
            close(losses[0] - losses[1], predicted, `layer ${layer}, part ${part}, ${kind}`);
          }
        }
        const { norms } = base.take(layer);
        for (const [i, norm] of norms.entries()) {
          if (norm.length === 0) continue;
          const slope = found.blocks[layer].norms[i];
          const losses: number[] = [];
          let predicted = 0;
          for (const sign of [1, -1]) {
            const value = norm.map((x, at) => x + sign * Math.sign(slope[at]) * 2 ** -10);
            for (const [at, x] of value.entries()) predicted += sign * (x - norm[at]) * slope[at];
            losses.push(await loss({ layer, values: norms.map((own, at) => (at === i ? value : own)) }));
          }
          close(losses[0] - losses[1], predicted, `layer ${layer}, norm ${i}`);
        }
      }
    },
  );
});

test("distillation brings a model nearer to its original, and the same with any number of threads", async () => {
  const [plain, one, two] = [fresh(), fresh(), fresh()];
  await quantizeModel(tinyModel, { out: plain, ...small, distillSteps: 0 });
  const progress: string[] = [];
  const longer = { distillSteps: 48 };
  const made = await quantizeModel(tinyModel, {
    ...{ out: one, ...small, ...longer, threads: 1 },
    onProgress: ({ phase, done, total }) => phase === "distillation" && progress.push(`${done}/${total}`),
  });
  expect(progress).toEqual(Array.from({ length: 49 }, (_, i) => `${i}/48`));
  expect(made.divergence?.after).toBeLessThan(0.9 * (made.divergence?.before ?? 0));
  await quantizeModel(tinyModel, { out: two, ...small, ...longer, threads: 2 });
  expect(contents(two)).toEqual(contents(one));
  const original = await load(tinyModel, { activation: "float" });
  const probe = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8").slice(0, 4000);
  const kl: number[] = [];
  for (const out of [plain, one]) {
    const model = await load(out, { activation: "float" });
    kl.push((await compareModels(original, model, probe, { window: 64 })).kl.mean);
    await model.dispose();
  }
  await original.dispose();
  expect(kl[1]).toBeLessThan(kl[0]);
});

test("stopped in the middle of distillation, it resumes to the same files", async () => {
  const [whole, out] = [fresh(), fresh()];
  await quantizeModel(tinyModel, { out: whole, ...small });
  for (const stopAt of [0, 5, 23]) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const running = quantizeModel(tinyModel, {
      ...{ out, ...small, resume: true, signal: controller.signal },
      onProgress: ({ phase, done }) => phase === "distillation" && done >= stopAt && controller.abort(reason),
    });
    await expect(running).rejects.toBe(reason);
  }
  await quantizeModel(tinyModel, { out, ...small, resume: true });
  const [expected, found] = [contents(whole), contents(out)];
  expect(Object.keys(found).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, bytes] of Object.entries(expected)) expect([name, found[name] === bytes]).toEqual([name, true]);
});
