// The model that is quantised, and how its parts are called in a folder.

import { readConfig } from "../generate/open.ts";
import { type ModelFiles, openSource } from "../load/source.ts";
import type { ModelConfig } from "../model/config.ts";
import { folderNames, mapWeights, type WeightMap } from "../model/weights.ts";
import { sourceConfig } from "./folder.ts";

/** The source with everything that quantising it needs. */
export interface Source {
  files: ModelFiles;
  config: ModelConfig;
  weights: WeightMap;
  names: ReturnType<typeof folderNames>;
  /** What stored norms lack of those in a Hugging Face folder. */
  normAdd: number;
}

export async function openModel(source: string | undefined, signal: AbortSignal | undefined): Promise<Source> {
  const files = await openSource(source, { signal });
  const config = await readConfig(files);
  sourceConfig(files); // refuses what no config.json can say before hours of work
  const weights = mapWeights(config, files.tensors, files.kind, files.config);
  const { norms, normOffset } = config.family;
  const names = folderNames(norms, "model.");
  return { files, config, weights, names, normAdd: files.kind === "gguf" ? -normOffset : 0 };
}
