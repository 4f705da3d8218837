import { existsSync, renameSync } from "node:fs";
import { DraftSequenceTokenPredictor, getLlama, InputLookupTokenPredictor, LlamaLogLevel } from "node-llama-cpp";
import { serve } from "./serve.mjs";

const [file, threads, contextSize] = process.argv.slice(2);
const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const size = { contextSize: Number(contextSize), batchSize: 512, threads: Number(threads), flashAttention: true };
const context = await model.createContext(size);
const sequence = context.getSequence();
let kept = false;

async function* stream(ids, count) {
  // Tokens that fill() has evaluated stay; of any other prompt nothing does.
  if (!kept) await sequence.clearHistory();
  const rest = kept ? ids.slice(sequence.nextTokenIndex) : ids;
  kept = false;
  let given = 0;
  for await (const token of sequence.evaluate(rest, { temperature: 0, yieldEogToken: true })) {
    yield token;
    given += 1;
    if (given === count) return;
  }
}

/** Evaluates all but the last token of a long prompt, which takes minutes; the state is kept in a file beside the model. */
async function fill(ids) {
  const state = `${file}.${ids.length}.state`;
  await sequence.clearHistory();
  if (existsSync(state)) {
    await sequence.loadStateFromFile(state, { acceptRisk: true });
  } else {
    await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, -1));
    await sequence.saveStateToFile(`${state}.part`);
    renameSync(`${state}.part`, state);
  }
  if (sequence.nextTokenIndex !== ids.length - 1)
    throw new Error(`Expected ${ids.length - 1} tokens in the context, found ${sequence.nextTokenIndex}`);
  kept = true;
}

/** A sequence that drafts by the peer's own means; made when it is asked for, since each has a context of its own. */
const predicting = {};
async function predictorOf(how) {
  if (predicting[how]) return predicting[how];
  const other = await model.createContext(size);
  const predictor =
    how === "lookup"
      ? new InputLookupTokenPredictor()
      : new DraftSequenceTokenPredictor((await model.createContext(size)).getSequence());
  predicting[how] = { predictor, sequence: other.getSequence({ tokenPredictor: predictor }) };
  return predicting[how];
}

/** Greedy tokens as the library's predictors bring them. */
async function* predicted(ids, count, how) {
  if (how === undefined || how === "plain") return yield* stream(ids, count);
  const { predictor, sequence: own } = await predictorOf(how);
  await own.clearHistory();
  predictor.updateInputTokens?.(ids);
  let given = 0;
  for await (const token of own.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    yield token;
    given += 1;
    if (given === count) return;
  }
}

serve(predicted, { fill });
