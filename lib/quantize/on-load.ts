// load(path, { weights }): a model quantised when it is first loaded, and from then on taken from the disk.

import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { OutriderError } from "../errors.ts";
import { openSource } from "../load/source.ts";
import { contentHash } from "./content-hash.ts";
import { quantizeModel } from "./quantize-model.ts";
import { checkWeights, type WeightsOptions } from "./weights-options.ts";

/** Counts with every change of what a quantisation on load makes of the same files. */
const version = 2;

/** Where quantised models are kept: OUTRIDER_CACHE, or the user's cache folder. */
export function quantizedCache(): string {
  const { OUTRIDER_CACHE: own, XDG_CACHE_HOME: home } = process.env;
  return path.join(own || path.join(home || path.join(os.homedir(), ".cache"), "outrider"), "quantized");
}

/** A name for what quantising these files in this way makes, from all they hold. */
async function keyOf(
  source: string | undefined,
  weights: Required<WeightsOptions>,
  signal: AbortSignal | undefined,
  revision: string | undefined,
): Promise<{ key: string; from: string }> {
  const files = await openSource(source, { signal, revision });
  const names = new Set([...files.tensors.values()].map(({ file }) => file));
  if (files.kind === "folder") {
    for (const name of await readdir(files.path))
      if (/\.(json|jinja)$/.test(name)) names.add(path.join(files.path, name));
  }
  const way = JSON.stringify([version, weights.bits, weights.group, weights.method]);
  return { key: (await contentHash(names, signal, way)).slice(0, 40), from: files.path };
}

/**
 * The folder of a model's quantised form, made now if it has not been before.
 * @throws {OutriderError} what quantizeModel() throws.
 */
export async function quantizedSource(
  source: string | undefined,
  weights: WeightsOptions,
  options: {
    threads?: number;
    signal?: AbortSignal;
    revision?: string;
    onProgress?: (progress: { loaded: number; total: number }) => void;
  },
): Promise<string> {
  const { threads, signal, revision, onProgress } = options;
  const wanted = checkWeights(weights);
  const { key, from } = await keyOf(source, wanted, signal, revision);
  const cache = quantizedCache();
  const out = path.join(cache, `${path.basename(from, ".gguf")}-${wanted.bits}bit-g${wanted.group}-${key}`);
  const { bits, group, method } = wanted;
  process.emitWarning(
    `${path.basename(from)} in ${bits} bits by a quick quantisation on load, which loses quality; \`outrider quantize\` makes better weights of it`,
    { type: "OutriderWarning", code: "OUTRIDER_QUALITY" },
  );
  if (await stat(path.join(out, "config.json")).catch(() => undefined)) return out;
  const work = path.join(cache, `.${randomBytes(8).toString("hex")}`);
  try {
    await mkdir(cache, { recursive: true });
    await quantizeModel(from, {
      ...{ out: work, bits, group, method, signal, ...(threads === undefined ? {} : { threads }) },
      ...{ tokens: 4096, blockEpochs: 0, distillSteps: 0, measure: false },
      onProgress: ({ phase, done, total }) => phase === "blocks" && onProgress?.({ loaded: done, total }),
    });
    await rename(work, out).catch(async (error: NodeJS.ErrnoException) => {
      // Another process may have been faster.
      if (!(await stat(path.join(out, "config.json")).catch(() => undefined))) throw error;
    });
  } catch (error) {
    if (error instanceof Error && "syscall" in error)
      throw new OutriderError("OUTRIDER_IO", `Cannot write to ${cache}: ${error.message}`, { cause: error });
    throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return out;
}
