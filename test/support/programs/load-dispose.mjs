// Prints the growth of RSS, in bytes, over 200 cycles of load, use and dispose, and of streams that are left early: the least of
// up to three rounds. Run with --expose-gc.
import { load } from "outrider";
import { tinyModel } from "./tiny.mjs";

const settle = async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return process.memoryUsage().rss;
};

// The allocator reaches its size in steps of tens of megabytes, at its own time; a leak grows in every round.
async function growth(cycle) {
  for (let i = 0; i < 40; i++) await cycle(); // caches, pools and the heap reach their size
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3 && least > 8 * 2 ** 20; round++) {
    const before = await settle();
    for (let i = 0; i < 200; i++) await cycle();
    least = Math.min(least, (await settle()) - before);
  }
  return least;
}

const loads = await growth(async () => {
  const model = await load(tinyModel, { threads: 2 });
  await model.generate("Once", { maxTokens: 2 });
  await model.dispose();
});

const model = await load(tinyModel, { threads: 2 });
const prompt = Array.from({ length: 1000 }, (_, i) => i % model.info.vocab);
const breaks = await growth(async () => {
  for await (const _ of model.stream(prompt, { maxTokens: 8, temperature: 0 })) break;
});
const kvBytes = (await model.generate(prompt, { maxTokens: 1 })).stats.kvBytes;
const aborts = await growth(async () => {
  const late = new AbortController();
  const running = model.generate(prompt, { maxTokens: 200, ignoreEos: true, signal: late.signal }).catch(() => {});
  setTimeout(() => late.abort(), 5);
  await running;
});
await model.dispose();
console.log(JSON.stringify({ loads, breaks, aborts, kvBytes }));
