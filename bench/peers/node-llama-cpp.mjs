import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { serve } from "./serve.mjs";

const [file, threads] = process.argv.slice(2);
const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads: Number(threads) });
const sequence = context.getSequence();

serve(async function* (ids, count) {
  await sequence.clearHistory();
  let given = 0;
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    yield token;
    given += 1;
    if (given === count) return;
  }
});
