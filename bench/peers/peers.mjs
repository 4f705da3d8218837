// outrider against node-llama-cpp: rows `peers/MODEL/decode` and `peers/MODEL/prefill512`, tokens/s as a caller sees them; the baseline
// is the peer. `smollm2` is one GGUF file for both. The others have the shape of TinyLlama 1.1B and random weights: `tl-q2` is
// our 2 bits in groups of 64 against Q2_K; `tl-q4` (Q4_0), `tl-q8` (Q8_0) and `tl-f16` (F16) are one GGUF file for both, where Q4_0 and
// Q8_0 are our symmetric 4 and 8 bits in groups of 32. `tl-q2/decode-16k` decodes behind 16384 tokens. Each library runs in a process of its own; the
// two take turns. `peers/speculation/...`: see below. --model FILE measures another GGUF file, --only NAME one of the models.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { interleave } from "../measure.mjs";
import { modelFiles, smollm2 } from "../models.mjs";
import { affineModel, ggufModel, llama1b } from "../shapes/llama.mjs";
import { workloads } from "../speculation/workloads.mjs";
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

/** The chat template of SmolLM2, written out: both libraries get the same token ids. */
const chatText = (question) =>
  `<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n`;

/**
 * Rows `peers/speculation/WORKLOAD`: our automatic drafting against the best of what the peer has: plain, its input-lookup predictor, its draft-sequence predictor (with
 * the same file as the draft, the only smaller one there is being ours). Greedy answers to the questions of bench/speculation, of the length that ours have.
 */
async function speculation({ quick, threads, say }) {
  const file = smollm2();
  if (!file) return [];
  const mine = await start("outrider.mjs", file, threads, 2048);
  const peer = await start("node-llama-cpp.mjs", file, threads, 2048);
  const rows = [];
  try {
    for (const workload of ["copy", "chat"]) {
      const questions = quick ? workloads[workload].slice(0, 1) : workloads[workload];
      const prompts = await mine.ask("answers", { texts: questions.map(chatText), most: quick ? 24 : 160 });
      say(`speculation: ${workload}`);
      const theirs = ["plain", "lookup", "draft"].map((how) => [how, () => peer.ask("texts", { prompts, how })]);
      const ours = ["plain", "auto"].map((how) => [`our ${how}`, () => mine.ask("texts", { prompts, how })]);
      const found = await interleave(Object.fromEntries([...ours, ...theirs]), quick ? 1 : 3);
      say(Object.entries(found).map(([how, [value]]) => `${how} ${value.toFixed(1)}`).join(", ")); // biome-ignore format: one line
      const baseline = Math.max(...theirs.map(([how]) => found[how][0]));
      rows.push({
        id: `peers/speculation/${workload}`,
        value: found["our auto"][0],
        baseline,
        unit: "tokens/s",
        higherIsBetter: true,
      });
    }
  } finally {
    mine.stop();
    peer.stop();
  }
  return rows;
}

export async function run({ model, only, ...rest }) {
  const all = comparisons(model);
  const chosen = only === undefined ? all : all.filter(({ name }) => name === only);
  const drafted = model === undefined && (only === undefined || only === "speculation");
  if (chosen.length === 0 && !drafted)
    throw new Error(
      `Expected --only to be one of ${all.map(({ name }) => name).join(", ")}, speculation, received ${only}`,
    );
  install(rest.say);
  const rows = [];
  for (const each of chosen) rows.push(...(await compare(each, rest)));
  if (drafted) rows.push(...(await speculation(rest)));
  return rows;
}
