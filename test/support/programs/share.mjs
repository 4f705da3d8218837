// Loads one model in 8 workers and prints what that added to RSS: share.mjs FOLDER
import { Worker } from "node:worker_threads";

const source = process.argv[2];
const url = new URL("./worker.mjs", import.meta.url);
const workerData = { source, hold: true, prompt: [2, 3, 4] };

async function start(data) {
  const worker = new Worker(url, { workerData: data });
  const ready = await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return { worker, ...ready };
}

const rss = () => process.memoryUsage().rss;
const empty = rss();
const first = await start(workerData);
const one = rss();
const others = [];
for (let i = 1; i < 8; i++) others.push(await start(workerData));
const eight = rss();
console.log(
  JSON.stringify({
    weightBytes: first.weightBytes,
    one: one - empty,
    others: eight - one,
    texts: [first, ...others].map(({ text }) => text),
  }),
);
for (const { worker } of [first, ...others]) worker.postMessage("end");
