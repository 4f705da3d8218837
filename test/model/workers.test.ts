// What quantising holds in native memory goes back when it is disposed of, and not under a call.
import { expect, test } from "vitest";
import { type MatrixPlan, native } from "../../lib/native.ts";
import { openModel } from "../../lib/quantize/model.ts";
import { settled } from "../support/settled.ts";
import { tinyModel } from "../support/tiny.ts";

const { config, weights: map } = await openModel(tinyModel, undefined);
const { spec } = config;
const [count, length] = [16, 64];
const tokens = Int32Array.from({ length: count * length }, (_, i) => (i * 31) % spec.vocab);
const model = {
  ...{ spec, weights: map.weights, files: map.files, threads: 2 },
  ...{ tokens, lengths: new Int32Array(count).fill(length) },
};
const part: MatrixPlan = { bits: 2, group: 64, method: "decoupleq", rounds: 4 };
const plan = { parts: Array.from({ length: 7 }, () => part), epochs: 1, rate: 0.001, seed: 0 };
const choices = [{ bits: 2, group: 64 }] as const;
const training = { tableBits: 16, tableGroup: 32, seed: 0, rate: 0.001, steps: 1 } as const;
const disposed = expect.objectContaining({ code: "OUTRIDER_DISPOSED" });
const busy = expect.objectContaining({ code: "OUTRIDER_BUSY" });

test("a quantiser", async () => {
  const quantizer = await settled(native.quantizer(model));
  const job = quantizer.block(plan);
  expect(() => quantizer.dispose()).toThrow(busy);
  await settled(job);
  expect(job.progress()).toBe(7);
  quantizer.dispose();
  quantizer.dispose();
  expect(job.progress()).toBe(7);
  for (const call of [() => quantizer.block(plan), () => quantizer.table("embedding", 8, 32), () => quantizer.hidden()])
    expect(call).toThrow(disposed);
});

test("a surveyor", async () => {
  const surveyor = await settled(native.surveyor({ ...model, seed: 0 }));
  const job = surveyor.block(choices);
  expect(() => surveyor.dispose()).toThrow(busy);
  await settled(job);
  surveyor.dispose();
  expect(() => surveyor.block(choices)).toThrow(disposed);
});

test("a distiller", async () => {
  const distiller = await settled(native.distiller({ ...model, ...training }));
  distiller.dispose();
  const calls = [
    () => distiller.block({ parts: [] }),
    () => distiller.ready(),
    () => distiller.step(),
    () => distiller.divergence(1),
    () => distiller.gradients(0),
    () => distiller.round(),
    () => distiller.take(0),
    () => distiller.finalNorm(),
    () => distiller.state(),
    () => distiller.restore(new Float32Array(0), 0),
  ];
  for (const call of calls) expect(call).toThrow(disposed);
});
