// Speculative decoding against plain decoding of the same model in the same process, by turns; the texts are the same to the token, which
// is checked. Rows `speculation/WORKLOAD/DRAFTERS` in tokens/s of whole answers without their prefill, greedy, and with `-t0.8` at that temperature
// (`random` at 1.2 alone); the ratio is over plain decoding. Rows behind each, `.../accepted` and so on: see detail.mjs.
// `speculation/oracle/g4`: a drafter that knows four tokens of the answer; its limit is 5 T(1) / T(5) times plain decoding, T(1) being the engine's time of a
// token without drafts and T(5) its mean time of a step with them, in the same rounds; the last steps of answers are shorter, so that the limit is a little high.
// `speculation/draft-model/...`: see draft-models.mjs. `speculation/rules/...`: see rules.mjs.
// `speculation/overhead`: microseconds that proposals and observations of `copy` and `recycle` together take for a token of `chat`. --only WORKLOAD or WORKLOAD/DRAFTERS measures one.
import { autoDrafters, chain, copy, input, load, lookahead, ngram, recycle, skipLayers, suffix } from "outrider";
import { median } from "../measure.mjs";
import { detailRows } from "./detail.mjs";
import { draftModelRows } from "./draft-models.mjs";
import { rounds, speedOf } from "./rounds.mjs";
import { ruleRows } from "./rules.mjs";
import { workloads } from "./workloads.mjs";

const sets = {
  auto: autoDrafters,
  copy: () => [copy()],
  "copy-latest": () => [copy({ match: "latest" })],
  ngram: () => [ngram()],
  suffix: () => [suffix()],
  recycle: () => [recycle()],
  lookahead: () => [lookahead()],
  "skip-layers": () => [skipLayers()],
};

/** Drafts the next tokens of a text that is known. */
function oracle(answer, count) {
  return {
    name: "oracle",
    start() {
      let said = 0;
      return {
        propose: ({ depth }) =>
          said === 0 ? undefined : chain(answer[said - 1], answer.slice(said, said + Math.min(count, depth))),
        observe({ tokens }) {
          said += tokens.length;
        },
      };
    },
  };
}

/** How a model answers questions: a conversation each. */
const answerer = (model, options) => async (question, i, drafters) => {
  const chat = model.chat();
  const draft = typeof drafters === "function" ? drafters(i) : drafters;
  const answer = await chat.send(question, { maxTokens: 160, seed: 1, ...options, draft });
  chat.dispose();
  return answer;
};

const sum = (list, pick) => list.reduce((total, one) => total + (pick(one) ?? 0), 0);

export async function run({ quick, threads, model: file, only, say }) {
  const model = await load(file, { threads });
  const [workloadOnly, setOnly] = only?.split("/") ?? [];
  const rows = [];
  try {
    const repetitions = quick ? 1 : 5;
    for (const [workload, questions] of Object.entries(workloads)) {
      if (workloadOnly !== undefined && workloadOnly !== workload) continue;
      const temperatures = workload === "random" ? [1.2] : [0, 0.8];
      for (const temperature of quick ? temperatures.slice(0, 1) : temperatures) {
        const suffixOf = temperature === 0.8 ? "-t0.8" : "";
        const few = quick ? questions.slice(0, 1) : questions;
        const options = { temperature, ...(quick ? { maxTokens: 24 } : {}) };
        // New drafters in every round: they may know the questions before, but not the answer from the last time.
        const makers = { plain: () => false, ...(quick ? { auto: sets.auto } : sets) };
        if (workload === "copy")
          makers.input = () => (i) => [input({ source: few[i].slice(0, few[i].lastIndexOf("\n\n")) })];
        for (const name of Object.keys(makers))
          if (setOnly !== undefined && name !== setOnly && name !== "plain") delete makers[name];
        const answer = answerer(model, options);
        const seen = await rounds({ repetitions, questions: few, sets: makers, answer });
        for (const name of Object.keys(makers)) {
          if (name === "plain") continue;
          const { value, ratio } = speedOf(seen, name);
          const last = seen[name][seen[name].length - 1];
          const id = `speculation/${workload}/${name}${suffixOf}`;
          rows.push({ id, value, unit: "tokens/s", baseline: value / ratio, higherIsBetter: true });
          rows.push(...detailRows(id, last.stats, last.tokens));
          say(`${id}: ${value.toFixed(0)} tokens/s, ratio ${ratio.toFixed(3)}`);
        }
      }
    }
    if (only === undefined || only === "oracle") rows.push(await oracleRow(model, quick));
    if (only === undefined || only === "draft-model") rows.push(...(await draftModelRows({ quick, threads, say })));
    if (only === undefined || only === "rules") rows.push(...(await ruleRows({ quick, threads, say })));
    if (only === undefined || only === "overhead") rows.push(await overheadRow(model, quick));
  } finally {
    await model.dispose();
  }
  return rows;
}

/** What drafters take in JavaScript that are asked again and again. */
async function overheadRow(model, quick) {
  const questions = workloads.chat.slice(0, quick ? 1 : 4);
  const sets = { plain: () => false, both: () => [copy(), recycle()] };
  const seen = await rounds({
    ...{ repetitions: quick ? 1 : 5, questions, sets },
    answer: answerer(model, { temperature: 0 }),
  });
  const spent = seen.both.map(({ stats, tokens }) => (1e3 * sum(stats, (one) => one.draftMs)) / tokens);
  return { id: "speculation/overhead", value: median(spent), unit: "us a token" };
}

/** What is left of perfect drafts. */
async function oracleRow(model, quick) {
  const questions = workloads.chat.slice(0, quick ? 1 : 4);
  const answer = answerer(model, { temperature: 0 });
  const known = [];
  for (const [i, question] of questions.entries()) known.push((await answer(question, i, false)).tokens);
  const sets = { plain: () => false, oracle: () => (i) => [oracle(known[i], 4)] };
  const seen = await rounds({ repetitions: quick ? 1 : 5, questions, sets, answer });
  const { value, ratio } = speedOf(seen, "oracle");
  const plain = value / ratio;
  const cost = median(
    seen.oracle.map(({ stats }, i) => {
      const step = sum(stats, (one) => one.verifyMs) / sum(stats, (one) => one.steps) / 1e3;
      return step / (seen.plain[i].engine / seen.plain[i].tokens);
    }),
  );
  return {
    id: "speculation/oracle/g4",
    value,
    unit: "tokens/s",
    baseline: plain,
    limit: (5 / cost) * plain,
    higherIsBetter: true,
  };
}
