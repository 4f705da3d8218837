// Terminates workers in the middle of a generation, at different moments, while the main thread generates as well. With
// `pearl` as argument the workers' models draft beside themselves.
import { Worker } from "node:worker_threads";
import { load } from "outrider";
import { tinyModel } from "./tiny.mjs";

const worker = new URL("./worker.mjs", import.meta.url);
const model = await load(tinyModel, { threads: 2 });
const alone = await model.generate("Once upon a time", { maxTokens: 200, temperature: 0, ignoreEos: true });
for (let i = 0; i < 20; i++) {
  const thread = new Worker(worker, { workerData: { pearl: process.argv[2] === "pearl" } });
  await new Promise((resolve, reject) => {
    thread.once("message", resolve);
    thread.once("error", reject);
  });
  const beside = model.generate("Once upon a time", { maxTokens: 200, temperature: 0, ignoreEos: true });
  await new Promise((resolve) => setTimeout(resolve, i));
  await thread.terminate();
  if ((await beside).text !== alone.text) throw new Error("a terminated neighbour changed the text");
}
await model.dispose();
console.log("terminated 20");
