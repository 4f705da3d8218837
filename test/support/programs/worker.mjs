// A worker that loads a model and either generates until it is terminated or holds the model until it is told to end.
import { parentPort, workerData } from "node:worker_threads";
import { load, pearl } from "outrider";

const model = await load(workerData.source, { threads: 2 });
if (workerData.hold) {
  const { text } = await model.generate(workerData.prompt, { maxTokens: 8, temperature: 0, ignoreEos: true });
  parentPort.once("message", async () => {
    await model.dispose();
    process.exit(0);
  });
  parentPort.postMessage({ text, weightBytes: model.info.weightBytes });
} else {
  const draft = workerData.pearl ? pearl(model, { crowded: true }) : "auto";
  parentPort.postMessage("generating");
  for (;;) await model.generate("Once upon a time", { maxTokens: 1000, ignoreEos: true, draft });
}
