// GGUF metadata to the keys of config.json, so that both kinds of file go through the same families.

import { open } from "node:fs/promises";
import { describe, OutriderError } from "../errors.ts";
import type { TensorTable } from "../tensor/entry.ts";
import { type ModelConfig, specFromConfig } from "./config.ts";
import { families } from "./families/index.ts";

type Metadata = ReadonlyMap<string, unknown>;

/** config.json's keys and the suffixes of the metadata keys that hold the same. */
const sameMeaning: Record<string, string> = {
  hidden_size: "embedding_length",
  intermediate_size: "feed_forward_length",
  num_hidden_layers: "block_count",
  num_attention_heads: "attention.head_count",
  num_key_value_heads: "attention.head_count_kv",
  head_dim: "attention.key_length",
  max_position_embeddings: "context_length",
  rms_norm_eps: "attention.layer_norm_rms_epsilon",
  rope_theta: "rope.freq_base",
  sliding_window: "attention.sliding_window",
  attn_logit_softcapping: "attn_logit_softcapping",
  final_logit_softcapping: "final_logit_softcapping",
  embedding_multiplier: "embedding_scale",
  residual_multiplier: "residual_scale",
  logits_scaling: "logit_scale",
  attention_multiplier: "attention.scale",
  num_local_experts: "expert_count",
  clip_qkv: "attention.clamp_kqv",
  alibi: "attention.max_alibi_bias",
  is_decoder: "attention.causal",
};

/** All layers must agree where GGUF allows one value per layer. */
function scalar(key: string, value: unknown): unknown {
  if (!ArrayBuffer.isView(value) && !Array.isArray(value)) return value;
  const values = Array.from(value as ArrayLike<unknown>);
  if (values.length > 0 && values.every((entry) => entry === values[0])) return values[0];
  throw new OutriderError("OUTRIDER_UNSUPPORTED", `Expected one value for all layers for ${key}, received several`);
}

function ropeScaling(metadata: Metadata, arch: string): Record<string, unknown> | undefined {
  const type = metadata.get(`${arch}.rope.scaling.type`);
  const factor = metadata.get(`${arch}.rope.scaling.factor`) ?? metadata.get(`${arch}.rope.scale_linear`);
  if (type === undefined && factor === undefined) return undefined;
  if (type === "none") return undefined;
  return {
    rope_type: type ?? "linear",
    factor,
    original_max_position_embeddings: metadata.get(`${arch}.rope.scaling.original_context_length`),
    attention_factor: metadata.get(`${arch}.rope.scaling.attn_factor`),
  };
}

/** What converters leave to the program that reads the file. */
function impliedBy(arch: string, config: Record<string, unknown>): void {
  if (arch.startsWith("gemma")) {
    config.hidden_activation = "gelu_pytorch_tanh";
    // The 27B models scale queries by hidden / heads, all others by the head size.
    const largest = config.num_hidden_layers === 46 || config.num_hidden_layers === 62;
    const perHead = Number(config.hidden_size) / Number(config.num_attention_heads);
    config.query_pre_attn_scalar = largest ? perHead : config.head_dim;
    if (arch === "gemma3") config.rope_local_base_freq = 10000;
  }
}

async function readFloats(tensors: TensorTable, name: string, count: number): Promise<Float32Array | undefined> {
  const entry = tensors.get(name);
  if (!entry) return undefined;
  if (entry.format !== "f32" || entry.shape.length !== 1 || entry.shape[0] !== count) {
    throw new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected ${count} f32 values for ${name}, received ${entry.format} [${entry.shape.join(", ")}]`,
    );
  }
  const handle = await open(entry.file, "r");
  try {
    const values = new Float32Array(count);
    await handle.read(new Uint8Array(values.buffer), 0, entry.byteLength, entry.offset);
    return values;
  } finally {
    await handle.close();
  }
}

/**
 * The config.json that a GGUF file was made from, as far as its metadata says.
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED naming the architecture or feature outrider cannot run.
 */
export function configFromGguf(metadata: Metadata, tensors: TensorTable): Record<string, unknown> {
  const arch = metadata.get("general.architecture");
  const family = families.find((candidate) => candidate.gguf === arch);
  if (typeof arch !== "string" || !family) {
    const known = [...new Set(families.map((candidate) => candidate.gguf))].join(", ");
    throw new OutriderError("OUTRIDER_UNSUPPORTED", `Expected GGUF architecture ${known}, received ${describe(arch)}`);
  }
  const config: Record<string, unknown> = { model_type: family.name };
  for (const [key, suffix] of Object.entries(sameMeaning)) {
    const value = metadata.get(`${arch}.${suffix}`);
    if (value !== undefined) config[key] = scalar(`${arch}.${suffix}`, value);
  }
  const embedding = tensors.get("token_embd.weight");
  config.vocab_size = embedding?.shape[0];
  config.tie_word_embeddings = !tensors.has("output.weight");
  config.head_dim ??= Number(config.hidden_size) / Number(config.num_attention_heads);
  const rotary = metadata.get(`${arch}.rope.dimension_count`);
  if (typeof rotary === "number") config.partial_rotary_factor = rotary / Number(config.head_dim);
  config.rope_scaling = ropeScaling(metadata, arch);
  impliedBy(arch, config);
  if (tensors.has("rope_factors_long.weight") || tensors.has("rope_factors_short.weight")) {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      "Expected RoPE type default, linear, llama3 or yarn, received longrope",
    );
  }
  return config;
}

/**
 * Reads the metadata of a GGUF file.
 * @throws {OutriderError} as {@link configFromGguf}, and for impossible values.
 */
export async function specFromGguf(metadata: Metadata, tensors: TensorTable): Promise<ModelConfig> {
  const model = specFromConfig(configFromGguf(metadata, tensors));
  // llama3 scaling is stored as one divisor per frequency.
  const rope = model.spec.ropes[0];
  const divisors = await readFloats(tensors, "rope_freqs.weight", rope.invFreq.length);
  if (divisors) rope.invFreq = rope.invFreq.map((frequency, i) => frequency / divisors[i]);
  return model;
}
