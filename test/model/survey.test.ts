// The survey that a byte budget is spent by: what it says a matrix costs is what quantising that matrix costs.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { readTokenizer } from "../../lib/generate/open.ts";
import { type MatrixPlan, native, type QuantizedMatrix } from "../../lib/native.ts";
import { openModel } from "../../lib/quantize/model.ts";
import { settled } from "../support/settled.ts";
import { tinyModel } from "../support/tiny.ts";

test("predicted costs are the measured divergences", async () => {
  const source = await openModel(tinyModel, undefined);
  const { spec } = source.config;
  const { weights, files } = source.weights;
  const { tokenizer } = await readTokenizer(source.files, spec.vocab);
  const text = readFileSync(path.resolve(import.meta.dirname, "../../CONTRIBUTING.md"), "utf8");
  const [count, length] = [16, 64];
  const tokens = tokenizer.encode(text).slice(0, count * length);
  expect(tokens.length).toBe(count * length);
  const model = { spec, weights, files, tokens, lengths: new Int32Array(count).fill(length), threads: 2 };

  const coarse = { bits: 4, group: 64 } as const;
  const fine = { bits: 8, group: 16 } as const;
  const surveyor = await settled(native.surveyor({ ...model, seed: 1 }));
  const predicted: number[] = [];
  for (const _ of spec.layers) {
    const block = await settled(surveyor.block([coarse, fine]));
    for (const [, bits8] of block) expect(bits8).toBeGreaterThanOrEqual(0);
    for (const [bits4, bits8] of block) expect(bits8).toBeLessThan(bits4 / 50);
    predicted.unshift(...block.map(([bits4]) => bits4));
  }
  await expect(async () => surveyor.block([coarse])).rejects.toThrow(/a block that is left/);

  type Stored = QuantizedMatrix & Pick<MatrixPlan, "bits" | "group">;
  const quantised = async (shape: Pick<MatrixPlan, "bits" | "group">, method: MatrixPlan["method"]) => {
    const quantizer = await settled(native.quantizer(model));
    const layers: Stored[][] = [];
    for (const _ of spec.layers) {
      const parts = Array.from({ length: 7 }, (): MatrixPlan => ({ ...shape, method, rounds: 1 }));
      const block = await settled(quantizer.block({ parts, epochs: 0, rate: 0, seed: 0 }));
      layers.push(block.parts.map((part) => ({ ...(part as QuantizedMatrix), ...shape })));
    }
    return layers;
  };
  const [near, far] = [await quantised(fine, "rtn"), await quantised(coarse, "gptq")];
  const loss = async (layer: number, part: number) => {
    const options = { tableBits: 16, tableGroup: 32, seed: 0, rate: 0.01, steps: 1 } as const;
    const distiller = await settled(native.distiller({ ...model, ...options }));
    for (const [l, parts] of near.entries())
      await settled(distiller.block({ parts: parts.map((own, p) => (l === layer && p === part ? far[l][p] : own)) }));
    await settled(distiller.ready());
    return settled(distiller.divergence(count));
  };
  const base = await loss(-1, -1);
  const measured: number[] = [];
  for (const layer of spec.layers.keys())
    for (let part = 0; part < 7; part++) measured.push((await loss(layer, part)) - base);

  // To second order, with gradients and inputs taken as independent: right within a factor, and in the right order.
  const ratios = measured.map((value, i) => Math.log(value / predicted[i]));
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
  expect(Math.abs(mean)).toBeLessThan(Math.log(1.5));
  for (const ratio of ratios) expect(Math.abs(ratio)).toBeLessThan(Math.log(4));
  const ranks = (values: number[]) => values.map((value) => values.filter((other) => other < value).length);
  const [a, b] = [ranks(measured), ranks(predicted)];
  const n = a.length;
  const spearman = 1 - (6 * a.reduce((sum, rank, i) => sum + (rank - b[i]) ** 2, 0)) / (n * (n * n - 1));
  expect(spearman).toBeGreaterThan(0.8);
});
