// Snapshots in memory that shrinks, moves away or changes while they are restored.
import { load, OutriderError } from "outrider";
import { tinyModel } from "./tiny.mjs";

const model = await load(tinyModel, { threads: 2 });
const chat = model.chat({ temperature: 0, maxTokens: 4 });
await chat.send("word ".repeat(700));
const image = await chat.save();
const text = (await chat.send("And now?")).text;
const refusals = [];

/** A Buffer over memory that can shrink. */
function shrinkable() {
  const memory = new ArrayBuffer(image.length, { maxByteLength: image.length });
  const bytes = Buffer.from(memory);
  bytes.set(image);
  return { memory, bytes };
}
const damage = {
  shrink: ({ memory }) => memory.resize(0),
  overwrite: ({ bytes }) => bytes.fill(0xff),
  cut: ({ memory }) => memory.resize(image.length >> 1),
};
for (const [name, harm] of Object.entries(damage)) {
  for (const wait of [undefined, (done) => setImmediate(done), (done) => setTimeout(done, 1)]) {
    const given = shrinkable();
    const target = model.chat({ temperature: 0, maxTokens: 4 });
    const restoring = target.restore(given.bytes);
    if (wait) await new Promise(wait);
    harm(given);
    await restoring.catch((error) => {
      if (!(error instanceof OutriderError)) throw error;
      refusals.push(`${name} ${error.code}`);
    });
    target.dispose();
  }
}
if (refusals.length === 0) throw new Error("nothing was refused: the snapshot is too small to race with");
const given = shrinkable();
const target = model.chat({ temperature: 0, maxTokens: 4 });
await target.restore(given.bytes);
if ((await target.send("And now?")).text !== text) throw new Error("restored, and says something else");
await model.dispose();
console.log("no crash");
