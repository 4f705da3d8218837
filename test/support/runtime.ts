// Models without their tokenizer, for tests of the engine batch.
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import { Runtime, type RuntimeOptions } from "../../lib/model/runtime.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { native } from "../../lib/native.ts";

/** Loads config.json and the weights of a folder. Two threads, float activations and an f32 KV cache unless told otherwise. */
export async function openRuntime(folder: string, options: Partial<RuntimeOptions> = {}): Promise<Runtime> {
  const files = await openSource(folder);
  const config = specFromConfig(files.config ?? {});
  return startRuntime(config, mapWeights(config, files.tensors, files.kind, files.config), options);
}

/** The same from what specFromConfig and mapWeights gave. */
export async function startRuntime(
  { spec }: ReturnType<typeof specFromConfig>,
  { weights, files }: ReturnType<typeof mapWeights>,
  options: Partial<RuntimeOptions> = {},
): Promise<Runtime> {
  const key = JSON.stringify([spec, weights]);
  const loaded = await native.loadModel({ spec, weights, files, key, threads: 2 }).promise;
  if (!loaded) throw new Error("not loaded");
  return new Runtime(loaded, spec, {
    threads: 2,
    rounded: false,
    kv: "f32",
    contextLength: spec.contextLength,
    ...options,
  });
}
