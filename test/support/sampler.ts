// The sampler of native/ops/sample/sample.h once more, stage by stage, in plain double arithmetic.

import type { SampleInput } from "../../lib/ops/index.ts";
import { ranking } from "./reference.ts";

const f = Math.fround;

/** Options with plain logits in place of a tensor. */
export type ReferenceInput = Omit<SampleInput, "logits"> & { logits: Float32Array };

/** A token that survived the filters. Its logit is after temperature, its probability among the survivors. */
export interface Survivor {
  id: number;
  logit: number;
  probability: number;
}

const mask = (1n << 64n) - 1n;
const golden = 0x9e3779b97f4a7c15n;

/** The finaliser of splitmix64. */
function mix(value: bigint): bigint {
  let x = value;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & mask;
  return x ^ (x >> 31n);
}

/** u of (seed, position, token). */
export function uniformOf(seed: bigint, position: bigint, token: bigint): number {
  const stream = mix(mix((seed + golden) & mask) ^ ((position * 0xd1342543de82ef95n + 1n) & mask));
  const bits = mix((stream + (token + 1n) * golden) & mask);
  return (Number(bits >> 32n) + 0.5) / 2 ** 32;
}

/** Stages 1 and 2, in f32 as the logits are. */
export function adjusted(input: ReferenceInput): Float32Array {
  const { history = [], repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, suppressed = [] } = input;
  const logits = input.logits.slice();
  const counts = new Map<number, number>();
  for (const id of history) if (id >= 0 && id < logits.length) counts.set(id, (counts.get(id) ?? 0) + 1);
  if (repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0) {
    for (const [id, count] of counts) {
      const penalty = f(repetitionPenalty);
      const repeated = f(logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty);
      logits[id] = f(repeated - f(f(count * f(frequencyPenalty)) + f(presencePenalty)));
    }
  }
  for (const [id, bias] of input.logitBias ?? []) logits[id] = f(logits[id] + f(bias));
  for (const id of suppressed) logits[id] = Number.NEGATIVE_INFINITY;
  return logits;
}

function normalise(tokens: Survivor[]): void {
  const largest = tokens.reduce((a, t) => Math.max(a, t.logit), Number.NEGATIVE_INFINITY);
  const total = tokens.reduce((a, t) => a + Math.exp(t.logit - largest), 0);
  for (const token of tokens) token.probability = Math.exp(token.logit - largest) / total;
}

function withMass(tokens: Survivor[], p: number): Survivor[] {
  let mass = 0;
  const enough = tokens.findIndex((token) => {
    mass += token.probability;
    return mass >= p;
  });
  return enough < 0 ? tokens : tokens.slice(0, enough + 1);
}

/** Stages 3 to 7: the tokens that may be drawn, likeliest first, with their probabilities. */
export function survivors(input: ReferenceInput): Survivor[] {
  const { temperature = 0, topK = 0, typicalP = 1, topP = 1, minP = 0 } = input;
  const logits = adjusted(input);
  const byRank = ranking(logits).filter((id) => logits[id] > Number.NEGATIVE_INFINITY);
  if (temperature === 0) return byRank.slice(0, 1).map((id) => ({ id, logit: logits[id], probability: 1 }));
  let tokens = byRank.map((id) => ({ id, logit: logits[id] * (1 / f(temperature)), probability: 0 }));
  if (topK > 0) tokens = tokens.slice(0, topK);
  normalise(tokens);
  if (typicalP < 1) {
    const entropy = tokens.reduce((a, t) => (t.probability > 0 ? a - t.probability * Math.log(t.probability) : a), 0);
    const distance = (t: Survivor) => Math.abs(-Math.log(t.probability) - entropy);
    const nearest = tokens.slice().sort((a, b) => distance(a) - distance(b)); // stable: ties stay by rank
    const kept = new Set(withMass(nearest, f(typicalP)));
    tokens = tokens.filter((token) => kept.has(token));
    normalise(tokens);
  }
  if (topP < 1) tokens = withMass(tokens, f(topP));
  if (minP > 0) tokens = tokens.filter((token) => token.logit >= tokens[0].logit + Math.log(f(minP)));
  normalise(tokens);
  return tokens;
}

/** Every token that may be drawn in the order of stage 8, with log-probability and perturbed value; of a greedy sampler that of stage 2 at temperature 1. */
export function drawOrder(input: ReferenceInput): { id: number; logq: number; value: number }[] {
  const { temperature = 0, topK = 0 } = input;
  const greedy = temperature === 0 || topK === 1;
  const seed = BigInt.asUintN(64, BigInt(input.seed ?? 0));
  const position = BigInt(input.position ?? 0);
  const law = survivors(greedy ? { ...input, temperature: 1, topK: 0, typicalP: 1, topP: 1, minP: 0 } : input);
  const largest = law.reduce((a, { logit }) => Math.max(a, logit), Number.NEGATIVE_INFINITY);
  const mass = largest + Math.log(law.reduce((a, { logit }) => a + Math.exp(logit - largest), 0));
  const noise = (id: number) => (greedy ? 0 : -Math.log(-Math.log(uniformOf(seed, position, BigInt(id)))));
  return law
    .map(({ id, logit }) => ({ id, logq: logit - mass, value: logit + noise(id) - mass }))
    .sort((a, b) => b.value - a.value || a.id - b.id);
}

/** Stage 8: the survivor with the largest logit plus noise. */
export function draw(input: ReferenceInput): number {
  const seed = BigInt.asUintN(64, BigInt(input.seed ?? 0));
  const position = BigInt(input.position ?? 0);
  let best = { id: -1, value: Number.NEGATIVE_INFINITY };
  for (const { id, logit } of survivors(input)) {
    const value = logit - Math.log(-Math.log(uniformOf(seed, position, BigInt(id))));
    if (value > best.value) best = { id, value };
  }
  return best.id;
}
