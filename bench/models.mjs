// Models to measure: the tiny one of the tests, the default one, and SmolLM2 in Q4_1 where the folder of shared models is.
import { existsSync } from "node:fs";
import path from "node:path";

/** The folder of shared models. */
export const shared = path.resolve(process.env.OUTRIDER_SHARED ?? path.join(import.meta.dirname, "../../shared"));

const tiny = path.resolve(import.meta.dirname, "../test/fixtures/tiny");

/** SmolLM2 135M Q4_1, or undefined. */
export function smollm2() {
  const file = path.join(shared, "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
  return existsSync(file) ? file : undefined;
}

/** Names and sources; `file` stands alone if given. */
export function modelFiles(file) {
  if (file !== undefined) return [[path.basename(file).replace(/\.gguf$/, ""), file]];
  const found = smollm2();
  return [["tiny", tiny], ["default", undefined], ...(found ? [["smollm2", found]] : [])];
}
