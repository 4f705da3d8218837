import { load } from "../../dist/index.js";
import { serve } from "./serve.mjs";

const [file, threads] = process.argv.slice(2);
const model = await load(file || undefined, { threads: Number(threads) });
const forever = 1 << 20;
serve((ids, count) =>
  model.stream(ids, {
    maxTokens: Math.min(count, forever, model.info.contextLength - ids.length),
    temperature: 0,
    ignoreEos: true,
  }),
);
