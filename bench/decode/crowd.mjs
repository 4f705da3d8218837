// Two processes on one machine, each with all its threads: rows `crowd/MODEL/decode` in tokens/s of the slower one. The baseline is a fair
// half of what one process has alone, so a ratio of 0.5 means that sharing costs as much again as the sharing itself.
import { fork } from "node:child_process";
import path from "node:path";
import { median } from "../measure.mjs";
import { modelFiles } from "../models.mjs";

async function start(file, threads) {
  const child = fork(path.join(import.meta.dirname, "../peers/outrider.mjs"), [file ?? "", String(threads), "1024"], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const next = () => new Promise((resolve) => child.once("message", resolve));
  await next();
  return {
    decode: () => {
      child.send({ task: "decode" });
      return next();
    },
    stop: () => child.kill(),
  };
}

export async function run({ quick, threads, model, say }) {
  const rows = [];
  for (const [name, file] of modelFiles(model)) {
    if (file === undefined) continue;
    say(`${name}: alone and with another`);
    const pair = [await start(file, threads), await start(file, threads)];
    try {
      const [alone, together] = [[], []];
      for (let i = 0; i < (quick ? 3 : 9); i++) {
        alone.push(await pair[i % 2].decode());
        together.push(Math.min(...(await Promise.all(pair.map((each) => each.decode())))));
      }
      rows.push({
        id: `crowd/${name}/decode`,
        value: median(together),
        unit: "tokens/s",
        baseline: median(alone) / 2,
        higherIsBetter: true,
      });
    } finally {
      for (const each of pair) each.stop();
    }
  }
  return rows;
}
