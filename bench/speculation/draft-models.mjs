// Draft models: a smaller model proposes, a larger one says what it would have said. Rows `speculation/draft-model/PAIR/SHAPE`; the baseline is the larger
// model alone, by turns. `tiny`: two models of 3.5 and 0.7 million parameters, continuing public-domain text. `smollm2`: SmolLM2 135M at 8 bits,
// answering questions, drafted for by the default model, which is the same model at 3.6 bits. `speculation/draft-model/best` is the best of them.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { draftModel, load, pearl } from "outrider";
import { shared, smollm2 } from "../models.mjs";
import { detailRows } from "./detail.mjs";
import { boundRows } from "./draft-bound.mjs";
import { rounds, speedOf } from "./rounds.mjs";
import { workloads } from "./workloads.mjs";

const shapes = {
  chain: {},
  sure: { minConfidence: 0.6 },
  short: { maxTokens: 2 },
  branches: { branches: 2, maxTokens: 4 },
  constant: { shape: { kind: "constant", branching: [2, 2, 1, 1] } },
  beam: { shape: { kind: "beam", width: 2, depth: 5 } },
  paths: { shape: { kind: "paths", count: 2, depth: 5 } },
  dynamic: { shape: { kind: "dynamic", nodes: 8, depth: 6 } },
  static: { shape: { kind: "static", nodes: 8, depth: 6 } },
  confidence: { shape: { kind: "confidence", width: 3, nodes: 8, depth: 6 } },
};

/** Ways to draft by name: all shapes, drafting beside the model, and drafts that end by a trained head where there is one. */
function waysOf(small, head) {
  const ways = Object.fromEntries(Object.entries(shapes).map(([name, how]) => [name, () => draftModel(small, how)]));
  ways.pearl = () => pearl(small, { crowded: true }); // without, it is switched off where cores are few
  if (head) ways.head = () => draftModel(small, { head });
  return ways;
}

/** What is drafted for what: sources, and how a model is asked. */
function pairs() {
  const found = [];
  const [target, draft] = ["tiny-target", "tiny-draft"].map((name) => path.join(shared, "models", name));
  const text = path.join(shared, "text/moby-dick-ch1-60.txt");
  if (existsSync(target) && existsSync(draft) && existsSync(text)) {
    const whole = readFileSync(text, "utf8");
    const prompts = Array.from({ length: 4 }, (_, i) => whole.slice(40_000 + i * 90_000, 40_200 + i * 90_000));
    const go = (model, prompt, options) => model.generate(prompt, options);
    const head = path.join(import.meta.dirname, "../../training/tiny-pair.safetensors");
    found.push({ name: "tiny", target, draft, head, options: {}, questions: prompts, answer: go });
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
    found.push({
      name: "smollm2",
      target: file,
      draft: undefined,
      options,
      questions: workloads.chat,
      answer: chat,
    });
  }
  return found;
}

async function pair({ name, target, draft, head, options, questions, answer }, { quick, threads, say }) {
  const large = await load(target, { threads, ...options });
  const small = await load(draft, { threads });
  const rows = [];
  const wish = { seed: 1, maxTokens: quick ? 24 : 128 };
  try {
    for (const temperature of quick ? [0] : [0, 0.8]) {
      const makers = { plain: () => false };
      const ways = waysOf(small, head);
      Object.assign(makers, quick ? { chain: ways.chain } : ways);
      // New drafters in every round: those of the last one have read the questions.
      const seen = await rounds({
        ...{ repetitions: quick ? 1 : 5, questions, sets: makers },
        answer: (question, _, draft) => answer(large, question, { ...wish, temperature, draft }),
      });
      for (const shape of Object.keys(makers)) {
        if (shape === "plain") continue;
        const { value, ratio } = speedOf(seen, shape);
        const id = `speculation/draft-model/${name}/${shape}${temperature === 0 ? "" : `-t${temperature}`}`;
        const last = seen[shape][seen[shape].length - 1];
        say(`${id}: ${value.toFixed(0)} tokens/s, ratio ${ratio.toFixed(3)}`);
        rows.push({ id, value, unit: "tokens/s", baseline: value / ratio, higherIsBetter: true });
        rows.push(...detailRows(id, last.stats, last.tokens));
      }
    }
    if (!quick) rows.push(...(await boundRows(`speculation/draft-model/${name}`, large, small, questions)));
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
  const value = (id) => rows.find((row) => row.id === id)?.value ?? 0;
  // Where hardly a step was drafted, since drafting does not pay, a ratio says nothing about the shape.
  const measured = rows.filter(({ id, baseline }) => baseline !== undefined && !id.includes("/pearl"));
  const drafted = measured.filter(({ id }) => value(`${id}/steps`) > 0.05);
  const among = drafted.length > 0 ? drafted : measured.filter(({ id }) => id.endsWith("/chain")).slice(-1);
  if (among.length === 0) return rows;
  const best = among.reduce((a, b) => (b.value / b.baseline > a.value / a.baseline ? b : a));
  const bound = value(`${best.id.split("/").slice(0, 3).join("/")}/bound`);
  context.say(
    `best draft model: ${best.id}${bound > 0 ? `, most that can be with its pair: ${bound.toFixed(2)}` : ""}`,
  );
  return [...rows, { ...best, id: "speculation/draft-model/best" }];
}
