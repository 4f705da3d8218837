// Calibration text that the model makes up: drawn from it at temperature 1, so that it covers what the model says and nothing else.

import { createHash } from "node:crypto";
import { badArgument } from "../errors.ts";
import { JointDecoding } from "../generate/joint-decoding.ts";
import { load } from "../generate/open.ts";
import { resolveOptions } from "../generate/options.ts";
import { type ModelParts, partsOf } from "../generate/parts.ts";
import type { Runtime } from "../model/runtime.ts";
import type { ChatTemplate } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ResolvedQuantize } from "./options.ts";

/** What makes tokens of text. */
export interface Text {
  tokenizer: Tokenizer;
  template: ChatTemplate;
}

/** Texts that are made at once, at most, and bytes that their keys and values may take; one in any case. */
const [mostAtOnce, mostBytes] = [16, 2 ** 29];

/** How many texts of so many tokens are made at once. */
function atOnce({ spec: { layers, kvHeads, headDim } }: Runtime, window: number): number {
  const token = layers.length * kvHeads * headDim * 2 * 2; // keys and values of 16 bits
  return Math.max(1, Math.min(mostAtOnce, Math.floor(mostBytes / (window * token))));
}

/** Every so many of the texts begin as the model's texts begin, with BOS; the others with a token drawn from all. */
const ownOpening = 4;

/**
 * What a text goes on from. The openings make what follows diverse: with one for all, the model repeats its favourite subjects.
 * Source: LLM-QAT (arXiv:2305.17888), section 3.1.
 */
function opening({ tokenizer }: Text, seed: number, index: number): Int32Array {
  const bos = tokenizer.encode(tokenizer.bosToken ?? "");
  if (index % ownOpening === 0) return bos.length > 0 ? bos : tokenizer.encode("The");
  const [framed] = tokenizer.encode("", { frame: true });
  for (let attempt = 0; ; attempt++) {
    const draw = createHash("sha256").update(`${seed} ${index} ${attempt}`).digest().readUInt32LE();
    const token = Math.floor((draw / 2 ** 32) * tokenizer.vocabSize);
    if (attempt > 1000 || !(tokenizer.specialIds.has(token) || tokenizer.decode([token]).trim() === ""))
      return bos.length > 0 && framed === bos[0] ? Int32Array.from([...bos, token]) : Int32Array.of(token);
  }
}

/**
 * What stands before and behind what a user says, up to where the model answers.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a model without a template, or whose template leaves no room in a window.
 */
function questionFrame({ tokenizer, template }: Text, window: number): [before: Int32Array, after: Int32Array] {
  const bad = (why: string) => badArgument("calibration", `sources other than "chat" for a model ${why}`, "chat");
  if (!template.exists) throw bad("without a chat template");
  const place = "\u2042question\u2042";
  const frame = template.render([{ role: "user", content: place }]).split(place);
  const [before, after] = frame.map((part) => tokenizer.encode(part));
  if (frame.length !== 2 || before.length === 0) throw bad("whose template does not frame questions");
  const least = before.length + after.length + 2;
  if (window < least) throw badArgument("window", `at least ${least} tokens for conversations of this model`, window);
  return [before, after];
}

/**
 * Windows of text, past the model's own ends.
 * @param kind "self": from openings drawn at random; "chat": conversations in the model's template
 * @param range of the first and behind the last of them
 * @throws {OutriderError} OUTRIDER_ARGUMENT for conversations of a model without a template.
 */
export async function madeText(
  source: string | undefined,
  kind: "self" | "chat",
  [from, to]: readonly [number, number],
  text: Text,
  { threads, window, seed, signal }: ResolvedQuantize,
  report: (done: number) => void,
): Promise<Int32Array[]> {
  const frame = kind === "chat" ? questionFrame(text, window) : undefined;
  await using model = await load(source, { threads, signal, activation: "int8", contextLength: window });
  const { runtime, endIds, defaults } = partsOf(model) as ModelParts;
  const joint = new JointDecoding(runtime, endIds, signal);
  const make = async (i: number): Promise<Int32Array> => {
    const draw = async (start: Int32Array, maxTokens: number, ignoreEos: boolean) => {
      const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, typicalP: 1, repetitionPenalty: 1 };
      const wish = { ...sampling, seed: seed * 1_000_003 + i, maxTokens, ignoreEos };
      const tokens = Int32Array.from(await joint.draw(start, resolveOptions(wish, defaults, runtime.spec.vocab)));
      return endIds.includes(tokens[tokens.length - 1]) ? tokens.slice(0, -1) : tokens; // without the end
    };
    // A conversation begins with a question that the model makes up where the user speaks: Magpie (arXiv:2406.08464), section 2.
    const begun = frame
      ? Int32Array.from([...frame[0], ...(await draw(frame[0], Math.max(1, window >> 2), false)), ...frame[1]])
      : opening(text, seed, i);
    const start = begun.subarray(0, window);
    const left = window - start.length;
    return Int32Array.from([...start, ...(left > 0 ? await draw(start, left, true) : [])]);
  };
  const windows: Int32Array[] = [];
  let [next, done, failed] = [from, from, false]; // failed: a text, or its report
  const work = async () => {
    try {
      while (next < to && !failed) {
        const i = next++;
        windows[i - from] = await make(i);
        if (!failed) report(++done);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  await Promise.all(Array.from({ length: Math.min(to - from, atOnce(runtime, window)) }, work));
  return windows;
}
