// Calibration text that the model makes up: drawn from it at temperature 1, so that it covers what the model says and nothing else.

import { createHash } from "node:crypto";
import { badArgument } from "../errors.ts";
import type { Model } from "../generate/model.ts";
import { load } from "../generate/open.ts";
import type { ChatTemplate } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ResolvedQuantize } from "./options.ts";

/** What makes tokens of text. */
export interface Text {
  tokenizer: Tokenizer;
  template: ChatTemplate;
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

type Draw = (from: Int32Array, maxTokens: number, ignoreEos: boolean) => Promise<Int32Array>;

/**
 * What a conversation goes on from: the template up to where a user speaks, what the model says there, and the opening of its own turn.
 * Source: Magpie (arXiv:2406.08464), section 2.
 */
async function question({ tokenizer, template }: Text, window: number, draw: Draw): Promise<Int32Array> {
  const place = "\u2042question\u2042";
  const frame = template.render([{ role: "user", content: place }]).split(place);
  const [before, after] = frame.map((part) => tokenizer.encode(part));
  if (frame.length !== 2 || before.length === 0)
    throw badArgument(
      "calibration",
      'sources other than "chat": the model\'s template does not frame questions',
      "chat",
    );
  const least = before.length + after.length + 2;
  if (window < least) throw badArgument("window", `at least ${least} tokens for conversations of this model`, window);
  const said = await draw(before, Math.max(1, window >> 2), false);
  return Int32Array.from([...before, ...said, ...after]);
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
  if (kind === "chat" && !text.template.exists)
    throw badArgument("calibration", 'sources other than "chat" for a model without a chat template', kind);
  await using model: Model = await load(source, { threads, signal, activation: "int8", contextLength: window });
  const windows: Int32Array[] = [];
  for (let i = from; i < to; i++) {
    const draw: Draw = async (start, maxTokens, ignoreEos) => {
      const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, typicalP: 1, repetitionPenalty: 1 };
      const options = { ...sampling, seed: seed * 1_000_003 + i, maxTokens, ignoreEos, signal };
      const { tokens, finishReason } = await model.generate(start, options);
      return Int32Array.from(finishReason === "stop" ? tokens.slice(0, -1) : tokens); // without the end
    };
    const start = (kind === "self" ? opening(text, seed, i) : await question(text, window, draw)).subarray(0, window);
    const left = window - start.length;
    windows.push(Int32Array.from([...start, ...(left > 0 ? await draw(start, left, true) : [])]));
    report(i + 1);
  }
  return windows;
}
