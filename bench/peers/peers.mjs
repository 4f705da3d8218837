// outrider against node-llama-cpp: rows `peers/MODEL/decode` and `peers/MODEL/prefill512`, tokens/s as a caller sees them; the baseline
// is the peer. `smollm2` is one GGUF file for both. The others have the shape of TinyLlama 1.1B and random weights: `tl-q2` is
// our 2 bits in groups of 64 against Q2_K; `tl-q4` (Q4_0), `tl-q8` (Q8_0) and `tl-f16` (F16) are one GGUF file for both, where Q4_0 and
// Q8_0 are our symmetric 4 and 8 bits in groups of 32. `tl-q2/decode-16k` decodes behind 16384 tokens. Each library runs in a process of its own; the
// two take turns. --model FILE measures another GGUF file, --only NAME one of the models.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { interleave } from "../measure.mjs";
import { modelFiles, smollm2 } from "../models.mjs";
import { affineModel, ggufModel, llama1b } from "../shapes/llama.mjs";
import { start } from "./child.mjs";

const here = import.meta.dirname;
const deepTokens = 16_384;

function install(say) {
  if (existsSync(path.join(here, "node_modules/node-llama-cpp"))) return;
  say("installing the peers of bench/peers/package.json");
  // Not `npm ci`: it refuses a lock file without the optional packages of every other platform.
  const args = ["install", "--no-save", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { cwd: here, stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot install the peers: run npm ${args.join(" ")} in bench/peers`);
}

/** What is compared: our file, the peer's, and how deep a context is decoded in the end. */
function comparisons(model) {
  if (model !== undefined) {
    const [[name, file]] = modelFiles(model);
    return [{ name, ours: () => file, theirs: () => file }];
  }
  const file = smollm2();
  const same = (make) => ({ ours: make, theirs: make });
  return [
    ...(file ? [{ name: "smollm2", ...same(() => file) }] : []),
    {
      name: "tl-q2",
      ours: () => affineModel(llama1b, 2, 64),
      theirs: () => ggufModel(llama1b, "q2_k"),
      depth: deepTokens,
    },
    { name: "tl-q4", ...same(() => ggufModel(llama1b, "q4_0")) },
    { name: "tl-q8", ...same(() => ggufModel(llama1b, "q8_0")) },
    { name: "tl-f16", ...same(() => ggufModel(llama1b, "f16")) },
  ];
}

async function compare({ name, ours, theirs, depth }, { quick, threads, say }) {
  say(`${name} with ${threads} threads`);
  const contextSize = depth ? depth + 512 : 1024;
  const mine = await start("outrider.mjs", ours(), threads, contextSize);
  const peer = await start("node-llama-cpp.mjs", theirs(), threads, contextSize);
  const both = async (task, repetitions, options) => {
    say(`${name}: ${task}`);
    const { our, their } = await interleave(
      { our: () => mine.ask(task, options), their: () => peer.ask(task, options) },
      repetitions,
    );
    return { value: our[0], baseline: their[0], unit: "tokens/s", higherIsBetter: true };
  };
  try {
    const small = name === "smollm2";
    const repetitions = quick ? 3 : small ? 11 : 5;
    const rows = [
      { id: `peers/${name}/decode`, ...(await both("decode", repetitions)) },
      { id: `peers/${name}/prefill512`, ...(await both("prefill512", repetitions)) },
    ];
    if (depth && !quick) {
      rows.push({ id: `peers/${name}/decode-${depth / 1024}k`, ...(await both("decode-deep", 7, { depth })) });
    }
    return rows;
  } finally {
    mine.stop();
    peer.stop();
  }
}

export async function run({ model, only, ...rest }) {
  const all = comparisons(model);
  const chosen = only === undefined ? all : all.filter(({ name }) => name === only);
  if (chosen.length === 0)
    throw new Error(`Expected --only to be one of ${all.map(({ name }) => name).join(", ")}, received ${only}`);
  install(rest.say);
  const rows = [];
  for (const each of chosen) rows.push(...(await compare(each, rest)));
  return rows;
}
