#!/usr/bin/env node
// npm run quality:prompts [-- --json]
//
// Ten prompts answered by SmolLM2-135M-Instruct, its Q4_1 GGUF in float arithmetic, and by the default model made from that: kept in bench/results/quality-prompts.json,
// shown in docs/quality.md. Needs the folder of shared models.
import { writeFileSync } from "node:fs";
import os from "node:os";
import { load } from "outrider";
import { resultsFile } from "./kept-rows.mjs";
import { report } from "./quality-report.mjs";
import { sourcePath } from "./quality-setup.mjs";

const sampling = { temperature: 0.2, topP: 0.9, seed: 1, maxTokens: 96 };
const prompts = [
  "Hello! Who are you?",
  "What is the capital of France?",
  "Why is the sky blue?",
  "Write two sentences about a dog who finds a ball.",
  "Give me three tips for sleeping well.",
  "What is the difference between a plant and an animal?",
  "Explain what a computer program is to a child.",
  "Write a short, polite email that asks a colleague for a meeting on Monday.",
  "How do I boil an egg?",
  "What is 7 plus 5?",
];

const answersOf = async (source, options) => {
  const model = await load(source, options);
  const answers = [];
  for (const prompt of prompts) answers.push((await model.chat().send(prompt, sampling)).text);
  await model.dispose();
  return answers;
};
const float = await answersOf(sourcePath, { activation: "float" });
const small = await answersOf(undefined, {});
const found = {
  ...{ date: new Date().toISOString().slice(0, 10), cpu: os.cpus()[0].model, sampling },
  answers: prompts.map((prompt, i) => ({ prompt, float: float[i], small: small[i] })),
};
writeFileSync(resultsFile("quality-prompts"), `${JSON.stringify(found, null, 2)}\n`);
report();
if (process.argv.includes("--json")) console.log(JSON.stringify(found, null, 2));
else
  for (const answer of found.answers)
    console.log(`# ${answer.prompt}\n[original] ${answer.float}\n[default]  ${answer.small}\n`);
