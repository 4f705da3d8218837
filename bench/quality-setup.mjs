// What measurements of quality share: the model, calibration text by kind, what is measured on, and text behind that for sweeps.
import { readFileSync } from "node:fs";
import path from "node:path";
import { load } from "outrider";
import { readTokenizer } from "../dist/generate/open.js";
import { settle } from "../dist/model/runtime.js";
import { calibrationText, someOf } from "../dist/quantize/calibration.js";
import { openModel } from "../dist/quantize/model.js";
import { shared } from "./models.mjs";

export const sourcePath = path.join(shared, "models/smollm2-135m-instruct");
export const foreign = path.join(shared, "text/sotu-calibration.txt");
export const threads = 2;
export const say = (line) => process.stderr.write(`${line}\n`);
/** Waits for a native job. */
export const wait = (job) => settle(job, undefined, () => false);

export const source = await openModel(sourcePath);
const tokenizer = await readTokenizer(source.files, source.config.spec.vocab);

const known = new Map();
/**
 * Windows of one kind of text, as many as that.
 * @param kind "self" or "chat", which the model makes up; "one opening", the same from one token for all; or "foreign"
 */
async function windows(kind, window, count) {
  const key = `${kind} ${window}`;
  const have = known.get(key) ?? [];
  if (have.length >= count) return have.slice(0, count);
  if (kind === "one opening") {
    const model = await load(sourcePath, { contextLength: window });
    const start = model.tokenize("<|im_start|>");
    const sampling = { ignoreEos: true, temperature: 1, topK: 0, topP: 1, minP: 0 };
    for (let i = have.length; i < count; i++) {
      const { tokens } = await model.generate(start, { ...sampling, maxTokens: window - start.length, seed: i });
      have.push(Int32Array.from([...start, ...tokens]));
    }
    await model.dispose();
    known.set(key, have);
    return have;
  }
  const tokens = count * window;
  const calibration = [kind === "foreign" ? foreign : kind];
  const options = { calibration, window, tokens, distillTokens: tokens, seed: 0, threads };
  const [made] = await calibrationText(sourcePath, tokenizer, options, [have]);
  known.set(key, made);
  return made;
}

/** Calibration tokens, an equal part of each kind. */
export async function textOf(kinds, tokens, window) {
  const sources = [];
  for (const kind of kinds) sources.push(await windows(kind, window, Math.ceil(tokens / window / kinds.length)));
  return someOf(sources, tokens, window);
}

export const golden = JSON.parse(
  readFileSync(path.join(shared, "golden/smollm2-135m-instruct/perplexity.json"), "utf8"),
);
/** Moby-Dick. */
export const text = readFileSync(path.join(shared, "text", golden.text), "utf8");
const unseen = tokenizer.tokenizer.encode(text);
const probe = Array.from({ length: 8 }, (_, i) =>
  unseen.subarray((golden.windows + 4 * i) * 1024, (golden.windows + 4 * i + 1) * 1024),
);
/** Eight windows of Moby-Dick behind those of the quality table. */
export const held = someOf([probe], 8 * 1024, 1024);

/** The recipes of a sweep that --only asks for. */
export function chosen(recipes, only) {
  const wanted = Object.entries(recipes).filter(([id]) => only?.includes(id) ?? true);
  if (wanted.length === 0) throw new Error(`Expected one of ${Object.keys(recipes).join(", ")} for --only`);
  return wanted;
}
