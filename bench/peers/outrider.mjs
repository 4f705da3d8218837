import { load } from "../../dist/index.js";
import { serve } from "./serve.mjs";

const [file, threads] = process.argv.slice(2);
const model = await load(file || undefined, { threads: Number(threads) });
const forever = 1 << 20;
const options = (ids, count) => ({
  maxTokens: Math.min(count, forever, model.info.contextLength - ids.length),
  temperature: 0,
  ignoreEos: true,
});

/** Token ids of texts, and how many tokens their greedy answers have. */
async function answers({ texts, most }) {
  const found = [];
  for (const text of texts) {
    const ids = [...model.tokenize(text)];
    const { tokens } = await model.generate(ids, { temperature: 0, maxTokens: most });
    found.push({ ids, count: tokens.length });
  }
  return found;
}

// Random weights repeat themselves; only where it is asked for is anything drafted.
serve((ids, count, how) => model.stream(ids, { ...options(ids, count), draft: how === "auto" ? "auto" : false }), {
  answers,
});
