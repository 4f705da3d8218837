import { load } from "../../dist/index.js";
import { serve } from "./serve.mjs";

const [file, threads] = process.argv.slice(2);
const model = await load(file, { threads: Number(threads) });
serve((ids, maxTokens) => model.stream(ids, { maxTokens, temperature: 0, ignoreEos: true }));
