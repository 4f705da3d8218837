// Where the system refuses threads: fewer workers and the same bits, or an error.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { load, OutriderError } from "outrider";
import { tinyModel } from "./tiny.mjs";
import { f32, gemm, packWeights } from "outrider/ops";

const weights = Float32Array.from({ length: 512 * 64 }, (_, i) => Math.sin(i));
const [x, w] = [f32(weights.slice(0, 3 * 64), [3, 64]), packWeights(f32(weights, [512, 64]))];
const one = gemm({ x, w }).data;
const model = await load(tinyModel, { threads: 2 });
const options = { maxTokens: 8, temperature: 0 };

/** Address space for `mib` more than there is; none: no limit. A thread takes 8 MiB for its stack. */
function limit(mib) {
  const kib = Number(/VmSize:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
  const bytes = mib === undefined ? "unlimited" : (kib + mib * 1024) * 1024;
  execFileSync("prlimit", ["--pid", String(process.pid), `--as=${bytes}:unlimited`]);
}

limit(6);
let refused;
await model.generate("Once upon a time", options).catch((error) => {
  refused = error;
});
limit();
if (!(refused instanceof OutriderError)) throw refused ?? new Error("an engine without a thread");
const { text } = await model.generate("Once upon a time", options);

limit(100);
for (let i = 0; i < 3; i++) {
  const many = gemm({ x, w, threads: 250 }).data;
  if (!many.every((value, at) => value === one[at])) throw new Error("other bits with refused threads");
}
limit();
if ((await model.generate("Once upon a time", options)).text !== text) throw new Error("another text");
await model.dispose();
console.log(`${refused.code}, no crash`);
