// Tables whose rows take so long that each is kept as it is finished: bench/results/NAME.json, { ...about, rows }.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");
export const resultsFile = (name) => path.join(root, "bench/results", `${name}.json`);

/** What a file of results holds, or undefined. */
export function readResults(name) {
  const file = resultsFile(name);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}

/**
 * Keeps rows with date, commit and processor, each in place of an earlier one of its id.
 * @param ids of the whole table, in its order
 */
export function rowKeeper(name, ids) {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
  return (row, about = {}) => {
    const kept = { ...row, date: new Date().toISOString().slice(0, 10), commit, cpu: os.cpus()[0].model };
    const saved = readResults(name) ?? {};
    const rows = [...(saved.rows ?? []).filter(({ id }) => id !== row.id), kept];
    rows.sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
    writeFileSync(resultsFile(name), `${JSON.stringify({ ...saved, ...about, rows }, null, 2)}\n`);
  };
}
