// outrider bench --speculation: what drafting brings on a user's own prompts.

import {
  autoDrafters,
  copy,
  type Drafter,
  draftModel,
  type GenerateOptions,
  type Generation,
  type Model,
  ngram,
  OutriderError,
  recycle,
  suffix,
} from "../index.ts";
import { Progress } from "./output.ts";
import type { PromptLine } from "./prompts-file.ts";

/** Drafters by name, new for every round: what they learn of the answers in one must not help them in the next. */
const sets: Readonly<Record<string, () => Drafter[]>> = {
  auto: autoDrafters,
  copy: () => [copy()],
  ngram: () => [ngram()],
  suffix: () => [suffix()],
  recycle: () => [recycle()],
};

/** What one set of drafters did. */
export interface SpeculationRow {
  drafters: string;
  /** Of answers without their prefill; plain decoding took turns with it. */
  tokensPerSecond: number;
  plainTokensPerSecond: number;
  /** Median of the rounds, over plain decoding. */
  ratio: number;
  /** Tokens that a step with drafts brought. */
  meanAcceptedLength: number;
  drafted: number;
  accepted: number;
  /** By depth: how often a drafted token was taken. */
  acceptedAtDepth: number[];
  draftMs: number;
}

interface Round {
  seconds: number;
  tokens: number;
  said: number[][];
  stats: NonNullable<Generation["stats"]["speculation"]>[];
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

async function answer(model: Model, line: PromptLine, options: GenerateOptions): Promise<Generation> {
  if ("prompt" in line) return model.generate(line.prompt, options);
  const history = line.messages.slice(0, -1);
  const chat = model.chat({ history });
  try {
    return await chat.send(line.messages[history.length].content, options);
  } finally {
    chat.dispose();
  }
}

async function round(model: Model, lines: PromptLine[], options: GenerateOptions): Promise<Round> {
  const answers: Generation[] = [];
  for (const line of lines) answers.push(await answer(model, line, options));
  return {
    seconds: sum(answers.map(({ stats }) => (stats.totalMs - stats.timeToFirstTokenMs) / 1e3)),
    tokens: sum(answers.map(({ tokens }) => tokens.length - 1)),
    said: answers.map(({ tokens }) => tokens),
    stats: answers.flatMap(({ stats }) => stats.speculation ?? []),
  };
}

/** Mean over the rounds' texts of how often a token at each depth was taken, those that drafted so deep. */
function byDepth(stats: Round["stats"]): number[] {
  const deepest = Math.max(0, ...stats.map(({ acceptedAtDepth }) => acceptedAtDepth.length));
  return Array.from({ length: deepest }, (_, depth) => {
    const deep = stats.flatMap(({ acceptedAtDepth }) => acceptedAtDepth[depth] ?? []);
    return sum(deep) / deep.length;
  });
}

/**
 * Answers all prompts with each set of drafters and without any, by turns, and compares times; the texts have to be the same.
 * @param names of drafters
 * @param draft a smaller model that drafts too
 */
export async function benchSpeculation(
  model: Model,
  lines: PromptLine[],
  names: string[],
  draft: Model | undefined,
  options: GenerateOptions,
  rounds: number,
): Promise<SpeculationRow[]> {
  const unknown = names.find((name) => !Object.hasOwn(sets, name));
  if (unknown !== undefined)
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      `Expected ${Object.keys(sets).join(", ")} for --drafters, received ${unknown}`,
    );
  const makers: Record<string, () => GenerateOptions["draft"]> = { plain: () => false };
  for (const name of names) makers[name] = sets[name];
  if (draft) makers["draft model"] = () => draftModel(draft);
  const found: Record<string, Round[]> = Object.fromEntries(Object.keys(makers).map((name) => [name, []]));
  const progress = new Progress();
  const total = (rounds + 1) * Object.keys(makers).length;
  let done = 0;
  try {
    for (let i = -1; i < rounds; i++) {
      let said: string | undefined;
      for (const [name, make] of Object.entries(makers)) {
        progress.update("Measuring", done++, total, name);
        const one = await round(model, lines, { seed: 1, ...options, draft: make() });
        said ??= JSON.stringify(one.said);
        if (JSON.stringify(one.said) !== said)
          throw new OutriderError("OUTRIDER_INTERNAL", `Drafting with ${name} changed a text`);
        if (i >= 0) found[name].push(one);
      }
    }
  } finally {
    progress.end();
  }
  const plain = found.plain;
  return Object.entries(found)
    .filter(([name]) => name !== "plain")
    .map(([drafters, rows]) => {
      const { stats } = rows[rows.length - 1];
      const [steps, drafted, accepted] = (["steps", "drafted", "accepted"] as const).map((key) =>
        sum(stats.map((one) => one[key])),
      );
      return {
        drafters,
        tokensPerSecond: median(rows.map(({ tokens, seconds }) => tokens / seconds)),
        plainTokensPerSecond: median(plain.map(({ tokens, seconds }) => tokens / seconds)),
        ratio: median(rows.map(({ seconds }, i) => plain[i].seconds / seconds)),
        meanAcceptedLength: steps > 0 ? 1 + accepted / steps : 1,
        ...{ drafted, accepted },
        acceptedAtDepth: byDepth(stats),
        draftMs: sum(stats.map(({ draftMs }) => draftMs)),
      };
    });
}

/** A table for people. */
export function printSpeculation(rows: SpeculationRow[]): void {
  process.stdout.write(
    "drafters      tokens/s   plain   ratio   tokens a drafted step   drafted   accepted   drafters' ms\n",
  );
  for (const row of rows) {
    const cells = [
      row.drafters.padEnd(12),
      row.tokensPerSecond.toFixed(1).padStart(9),
      row.plainTokensPerSecond.toFixed(1).padStart(7),
      row.ratio.toFixed(2).padStart(7),
      row.meanAcceptedLength.toFixed(2).padStart(23),
      String(row.drafted).padStart(9),
      String(row.accepted).padStart(10),
      row.draftMs.toFixed(1).padStart(14),
    ];
    process.stdout.write(`${cells.join(" ")}\n`);
  }
}
