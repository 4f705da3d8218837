// Whole models with default options. Rows `decode/MODEL/prefill512` and `decode/MODEL/decode` in tokens/s; the limit of decoding is
// reading the weights once per token. `decode/MODEL/TN`: the cost of verifying N rows of a tree in one call, in calls of one row,
// for every N up to 32. `decode/overhead`: microseconds of a decode step outside kernels, on SmolLM2 if it is there.
// `decode/MODEL/load`: milliseconds from load() to a model ready to generate, the files in the page cache. The tl models have the
// shape of TinyLlama 1.1B and random weights: 2 and 3 bits in groups of 64, Q4_0, Q8_0, F16. --only NAME measures one model.
import { load } from "outrider";
import { median, timed } from "../measure.mjs";
import { modelFiles } from "../models.mjs";
import { affineModel, ggufModel, llama1b } from "../shapes/llama.mjs";

const upTo = (most) => Array.from({ length: most }, (_, i) => i + 1);

export async function run({ quick, threads, model: file, only, say }) {
  const shapes = [
    ["tl-q2", () => affineModel(llama1b, 2, 64)],
    ["tl-q3", () => affineModel(llama1b, 3, 64)],
    ["tl-q4", () => ggufModel(llama1b, "q4_0")],
    ["tl-q8", () => ggufModel(llama1b, "q8_0")],
    ["tl-f16", () => ggufModel(llama1b, "f16")],
  ];
  const shaped = file === undefined && !quick ? shapes : [];
  const models = [...modelFiles(file).map(([name, source]) => [name, () => source]), ...shaped].filter(
    ([name]) => only === undefined || name === only,
  );
  const rows = [];
  for (const [name, source] of models) {
    say(`${name} with ${threads} threads`);
    const loads = [];
    for (let i = 0; i < (quick ? 2 : 6); i++) {
      const seconds = await timed(async () => (await load(source(), { threads })).dispose());
      if (i > 0) loads.push(seconds); // the first one reads the disk
    }
    rows.push({ id: `decode/${name}/load`, value: median(loads) * 1e3, unit: "ms" });
    const model = await load(source(), { threads });
    try {
      const curve = quick ? [1, 4] : ["tl-q3", "tl-q4", "tl-q8", "tl-f16"].includes(name) ? [1, 4, 8, 16] : upTo(32);
      const found = await model.measure({ rows: curve, repetitions: quick ? 3 : 7 });
      rows.push(
        {
          id: `decode/${name}/prefill512`,
          value: found.prefillTokensPerSecond,
          unit: "tokens/s",
          higherIsBetter: true,
        },
        {
          id: `decode/${name}/decode`,
          value: found.decodeTokensPerSecond,
          unit: "tokens/s",
          limit: found.boundTokensPerSecond,
          higherIsBetter: true,
        },
        ...found.costCurve.map(({ rows: n, cost }) => ({
          id: `decode/${name}/T${n}`,
          value: cost,
          unit: "calls of one row",
        })),
      );
      if (name === "smollm2") rows.push({ id: "decode/overhead", value: found.overheadMicroseconds, unit: "us" });
    } finally {
      await model.dispose();
    }
  }
  return rows;
}
