// A model of another vocabulary, for what bridges the two.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { tinyModel } from "./tiny.ts";

/** Writes the tiny model with other names for a tenth of the tokens, and some ids exchanged. */
export function writeForeign(folder: string): void {
  cpSync(tinyModel, folder, { recursive: true });
  const file = path.join(folder, "tokenizer.json");
  const tokenizer = JSON.parse(readFileSync(file, "utf8"));
  const { vocab } = tokenizer.model as { vocab: Record<string, number> };
  const ids = Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]);
  for (const [i, token] of ids.slice(-200).entries()) {
    const id = vocab[token];
    delete vocab[token];
    vocab[`${token}zq${i}`] = id;
  }
  const [a, b] = ids.slice(300, 302);
  [vocab[a], vocab[b]] = [vocab[b], vocab[a]];
  tokenizer.model.merges = (tokenizer.model.merges as (string | string[])[]).filter((merge) => {
    const joined = typeof merge === "string" ? merge.replace(" ", "") : merge.join("");
    return joined in vocab;
  });
  writeFileSync(file, JSON.stringify(tokenizer));
}
