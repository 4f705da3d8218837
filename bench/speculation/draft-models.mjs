// Draft models: a smaller model proposes, a larger one says what it would have said. Rows `speculation/draft-model/PAIR/SHAPE`; the baseline is the larger
// model alone, by turns. `tiny`: two models of 3.5 and 0.7 million parameters, continuing public-domain text. `smollm2`: SmolLM2 135M at 8 bits,
// answering questions, drafted for by the default model, which is the same model at 3.6 bits. `speculation/draft-model/best` is the best of them.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { draftModel, load } from "outrider";
import { median } from "../measure.mjs";
import { shared, smollm2 } from "../models.mjs";
import { detailRows } from "./detail.mjs";
import { workloads } from "./workloads.mjs";

const shapes = {
  chain: {},
  sure: { minConfidence: 0.6 },
  short: { maxTokens: 2 },
  branches: { branches: 2, maxTokens: 4 },
};

/** What is drafted for what: sources, and how a model is asked. */
function pairs() {
  const found = [];
  const [target, draft] = ["tiny-target", "tiny-draft"].map((name) => path.join(shared, "models", name));
  const text = path.join(shared, "text/moby-dick-ch1-60.txt");
  if (existsSync(target) && existsSync(draft) && existsSync(text)) {
    const whole = readFileSync(text, "utf8");
    const prompts = Array.from({ length: 4 }, (_, i) => whole.slice(40_000 + i * 90_000, 40_200 + i * 90_000));
    const go = (model, prompt, options) => model.generate(prompt, options);
    found.push({ name: "tiny", target, draft, options: {}, ask: inTurn(prompts, go) });
  }
  const file = smollm2();
  if (file) {
    const chat = async (model, question, options) => {
      const conversation = model.chat();
      const answer = await conversation.send(question, options);
      conversation.dispose();
      return answer;
    };
    const options = { weights: { bits: 8, group: 64 } };
    found.push({ name: "smollm2", target: file, draft: undefined, options, ask: inTurn(workloads.chat, chat) });
  }
  return found;
}

/** Asks one after the other: seconds from the first tokens to the last, tokens, and statistics. */
function inTurn(questions, call) {
  return async (model, options) => {
    const answers = [];
    for (const question of questions) answers.push(await call(model, question, options));
    const sum = (pick) => answers.reduce((total, answer) => total + (pick(answer) ?? 0), 0);
    return {
      seconds: sum(({ stats }) => (stats.totalMs - stats.timeToFirstTokenMs) / 1e3),
      tokens: sum(({ tokens }) => tokens.length - 1),
      texts: JSON.stringify(answers.map(({ tokens }) => tokens)),
      stats: answers.map(({ stats }) => stats.speculation),
    };
  };
}

async function pair({ name, target, draft, options, ask }, { quick, threads, say }) {
  const large = await load(target, { threads, ...options });
  const small = await load(draft, { threads });
  const rows = [];
  try {
    for (const temperature of quick ? [0] : [0, 0.8]) {
      const makers = { plain: () => false };
      for (const [shape, how] of Object.entries(quick ? { chain: {} } : shapes))
        makers[shape] = () => draftModel(small, how);
      const drafters = Object.fromEntries(Object.entries(makers).map(([shape, make]) => [shape, make()]));
      const seen = Object.fromEntries(Object.keys(makers).map((shape) => [shape, []]));
      let expected;
      for (let round = -1; round < (quick ? 1 : 5); round++) {
        for (const [shape, drafter] of Object.entries(drafters)) {
          const wish = { temperature, seed: 1, maxTokens: quick ? 24 : 128, draft: drafter };
          const found = await ask(large, wish);
          expected ??= found.texts;
          if (found.texts !== expected) throw new Error(`${name}/${shape}: another text`);
          if (round >= 0) seen[shape].push(found);
        }
      }
      for (const shape of Object.keys(makers)) {
        if (shape === "plain") continue;
        const value = median(seen[shape].map(({ tokens, seconds }) => tokens / seconds));
        const ratio = median(seen[shape].map(({ seconds }, i) => seen.plain[i].seconds / seconds));
        const id = `speculation/draft-model/${name}/${shape}${temperature === 0 ? "" : `-t${temperature}`}`;
        const last = seen[shape][seen[shape].length - 1];
        say(`${id}: ${value.toFixed(0)} tokens/s, ratio ${ratio.toFixed(3)}`);
        rows.push({ id, value, unit: "tokens/s", baseline: value / ratio, higherIsBetter: true });
        rows.push(...detailRows(id, last.stats, last.tokens));
      }
    }
  } finally {
    await Promise.all([large.dispose(), small.dispose()]);
  }
  return rows;
}

/** @returns rows of all pairs whose models are there, and the best */
export async function draftModelRows(context) {
  const rows = [];
  const all = pairs().filter(({ name }) => !context.quick || name === "tiny");
  for (const each of all) rows.push(...(await pair(each, context)));
  const measured = rows.filter(({ baseline }) => baseline !== undefined);
  if (measured.length === 0) return rows;
  const best = measured.reduce((a, b) => (b.value / b.baseline > a.value / a.baseline ? b : a));
  context.say(`best draft model: ${best.id}`);
  return [...rows, { ...best, id: "speculation/draft-model/best" }];
}
