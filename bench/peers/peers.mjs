// outrider against node-llama-cpp on one GGUF file: rows `peers/MODEL/decode` and `peers/MODEL/prefill512`, tokens/s as a caller sees them; the
// baseline is the peer. Each library runs in a process of its own; the two take turns.
import { fork, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { interleave } from "../measure.mjs";
import { modelFiles, smollm2 } from "../models.mjs";

const here = import.meta.dirname;

function install(say) {
  if (existsSync(path.join(here, "node_modules/node-llama-cpp"))) return;
  say("installing the peers of bench/peers/package.json");
  const args = ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { cwd: here, stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot install the peers: run npm ${args.join(" ")} in bench/peers`);
}

/** A child process that measures one library: ask("prefill") or ask("decode") gives tokens/s. */
async function start(script, file, threads) {
  const child = fork(path.join(here, script), [file, String(threads)], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const next = () =>
    new Promise((resolve, reject) => {
      const failed = (code) => reject(new Error(`${script} ended with ${code}`));
      child.once("exit", failed);
      child.once("message", (message) => {
        child.off("exit", failed);
        resolve(message);
      });
    });
  await next();
  const ask = (what) => {
    child.send(what);
    return next();
  };
  return { ask, stop: () => child.kill() };
}

export async function run({ quick, threads, model, say }) {
  const [name, file] = model === undefined ? ["smollm2", smollm2()] : modelFiles(model)[0];
  if (!file) throw new Error("The peers suite needs a GGUF file: pass --model FILE, or set OUTRIDER_SHARED");
  install(say);
  say(`${name} with ${threads} threads`);
  const [ours, theirs] = [await start("outrider.mjs", file, threads), await start("node-llama-cpp.mjs", file, threads)];
  try {
    const measured = await interleave(
      {
        ourDecode: () => ours.ask("decode"),
        theirDecode: () => theirs.ask("decode"),
        ourPrefill: () => ours.ask("prefill512"),
        theirPrefill: () => theirs.ask("prefill512"),
      },
      quick ? 5 : 11,
    );
    const row = (what, value, baseline) => ({
      id: `peers/${name}/${what}`,
      value: value[0],
      unit: "tokens/s",
      baseline: baseline[0],
      higherIsBetter: true,
    });
    return [
      row("decode", measured.ourDecode, measured.theirDecode),
      row("prefill512", measured.ourPrefill, measured.theirPrefill),
    ];
  } finally {
    ours.stop();
    theirs.stop();
  }
}
