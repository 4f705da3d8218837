// Two processes on one machine, each with all its threads: rows `crowd/MODEL/decode` in tokens/s of the slower one. The baseline is a fair
// half of what one process has alone, so a ratio of 0.5 means that sharing costs as much again as the sharing itself.
import { median } from "../measure.mjs";
import { modelFiles } from "../models.mjs";
import { start } from "../peers/child.mjs";

export async function run({ quick, threads, model, say }) {
  const rows = [];
  for (const [name, file] of modelFiles(model)) {
    if (name === "tiny") continue; // its vocabulary is smaller than that of the prompts
    say(`${name}: alone and with another`);
    const open = () => start("outrider.mjs", file, threads, 1024);
    const pair = [await open(), await open()];
    try {
      const [alone, together] = [[], []];
      for (let i = 0; i < (quick ? 3 : 9); i++) {
        alone.push(await pair[i % 2].ask("decode"));
        together.push(Math.min(...(await Promise.all(pair.map((each) => each.ask("decode"))))));
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
