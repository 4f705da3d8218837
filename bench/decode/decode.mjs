// Whole models with default options, in tokens/s: rows `decode/MODEL/prefill512` and `decode/MODEL/decode`. The limit of
// decoding is reading the weights once per token.
import { load } from "outrider";
import { interleave, timed } from "../measure.mjs";
import { modelFiles } from "../models.mjs";

const promptTokens = 512;
const decoded = 64;

export async function run({ quick, threads, model: file, bandwidthGBps, say }) {
  const rows = [];
  for (const [name, source] of modelFiles(file)) {
    say(`${name} with ${threads} threads`);
    const model = await load(source, { threads });
    try {
      const { vocab } = model.info;
      const prompt = Array.from({ length: promptTokens }, (_, i) => (i * 7919 + 13) % vocab);
      const measured = await interleave(
        {
          prefill: async () =>
            promptTokens / (await timed(() => model.generate(prompt, { maxTokens: 1, temperature: 0 }))),
          decode: async () => {
            const options = { maxTokens: decoded + 1, temperature: 0, ignoreEos: true };
            return (await model.generate(prompt.slice(0, 16), options)).stats.decodeTokensPerSecond;
          },
        },
        quick ? 3 : 7,
      );
      const limit = (bandwidthGBps * 1e9) / model.info.weightBytes;
      rows.push(
        { id: `decode/${name}/prefill512`, value: measured.prefill[0], unit: "tokens/s", higherIsBetter: true },
        { id: `decode/${name}/decode`, value: measured.decode[0], unit: "tokens/s", limit, higherIsBetter: true },
      );
    } finally {
      await model.dispose();
    }
  }
  return rows;
}
