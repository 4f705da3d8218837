// GGUF files of every family and every block format give the logits of the same weights in safetensors.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type GgufField, type GgufTensor, ggufTypes, writeGguf } from "../../bench/shapes/gguf.mjs";
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import { specFromGguf } from "../../lib/model/gguf-config.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { want } from "../../lib/native.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import type { TensorEntry, TensorTable } from "../../lib/tensor/entry.ts";
import { normal, uniform } from "../support/random.ts";
import { startRuntime } from "../support/runtime.ts";
import { describeShared } from "../support/shared.ts";
import { entryBytes, worstDifference } from "../support/tensors.ts";

const folder = mkdtempSync(path.join(tmpdir(), "outrider-gguf-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Config = Record<string, unknown>;

async function logitsOf(
  model: ReturnType<typeof specFromConfig>,
  map: ReturnType<typeof mapWeights>,
  ids: Int32Array,
): Promise<Float32Array> {
  const runtime = await startRuntime(model, map);
  const { logits = new Float32Array() } = await runtime.step({
    caches: [runtime.newCache()],
    tokens: ids,
    sequence: new Int32Array(ids.length),
    wants: new Uint8Array(ids.length).fill(want.logits),
  });
  await runtime.dispose();
  return logits;
}

async function ggufLogits(bytes: Buffer, ids: Int32Array): Promise<Float32Array> {
  const file = path.join(folder, "model.gguf");
  writeFileSync(file, bytes);
  const { metadata, tensors } = await openSource(file);
  const model = await specFromGguf(metadata ?? new Map(), tensors);
  return logitsOf(model, mapWeights(model, tensors, "gguf"), ids);
}

const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

// ---------------------------------------------------------------- families, as converters write them

const moduleNames: [RegExp, string][] = [
  [/^model\.embed_tokens$/, "token_embd"],
  [/^lm_head$/, "output"],
  [/^model\.norm$/, "output_norm"],
  [/self_attn\.([qkv])_proj$/, "attn_$1"],
  [/self_attn\.qkv_proj$/, "attn_qkv"],
  [/self_attn\.o_proj$/, "attn_output"],
  [/self_attn\.([qk])_norm$/, "attn_$1_norm"],
  [/mlp\.(gate|up|down)_proj$/, "ffn_$1"],
  [/mlp\.gate_up_proj$/, "ffn_up"],
  [/input_layernorm$/, "attn_norm"],
  [/pre_feedforward_layernorm$/, "ffn_norm"],
  [/post_feedforward_layernorm$/, "post_ffw_norm"],
];

function ggufName(name: string, postNorms: boolean): string {
  const [, layer, module, kind] = /^(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name) ?? [];
  const known = moduleNames.find(([pattern]) => pattern.test(module));
  let short = known ? module.replace(...known) : undefined;
  if (module === "post_attention_layernorm") short = postNorms ? "post_attention_norm" : "ffn_norm";
  if (!short) throw new Error(`no GGUF name for ${name}`);
  return `${layer === undefined ? "" : `blk.${layer}.`}${short}.${kind}`;
}

/** Rows (h, j, i) of [heads, 2, D / 2] in the order (h, i, j): RoPE pairs become neighbours. */
function permuteRows(bytes: Uint8Array<ArrayBuffer>, rows: number, heads: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.length);
  const rowBytes = bytes.length / rows;
  const half = rows / heads / 2;
  for (let h = 0; h < heads; h++)
    for (let j = 0; j < 2; j++)
      for (let i = 0; i < half; i++) {
        const from = (h * 2 * half + j * half + i) * rowBytes;
        out.set(bytes.subarray(from, from + rowBytes), (h * 2 * half + 2 * i + j) * rowBytes);
      }
  return out;
}

const permuted = ["llama", "mistral", "smollm3", "granite"];

function convertTensor(entry: TensorEntry, config: Config): GgufTensor {
  const family = config.model_type as string;
  const name = ggufName(entry.name, ["gemma2", "gemma3_text", "olmo2"].includes(family));
  let data = entryBytes(entry);
  if (permuted.includes(family) && /attn_[qk]\.(weight|bias)$/.test(name)) {
    const heads = name.includes("attn_q.") ? config.num_attention_heads : config.num_key_value_heads;
    data = permuteRows(data, entry.shape[0], heads as number);
  }
  if (family.startsWith("gemma") && name.includes("norm")) {
    const wide = nativeOps.widen; // the file stores the sum with one, in f32
    const values =
      entry.format === "f32"
        ? new Float32Array(data.buffer)
        : wide(new Uint16Array(data.buffer), entry.format as "f16");
    data = new Uint8Array(Float32Array.from(values, (value) => value + 1).buffer);
    return { name, shape: entry.shape, type: ggufTypes.f32, data };
  }
  return { name, shape: entry.shape, type: ggufTypes[entry.format as "f32"], data };
}

/** Divisors of llama3 scaling, from its definition: long wavelengths by `factor`, short ones not at all, a ramp between. */
function ropeDivisors(config: Config, dim: number): number[] {
  const scaling = config.rope_scaling as Record<string, number>;
  return Array.from({ length: dim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * (config.rope_theta as number) ** ((2 * i) / dim);
    const turns = scaling.original_max_position_embeddings / wavelength;
    if (turns < scaling.low_freq_factor) return scaling.factor;
    if (turns > scaling.high_freq_factor) return 1;
    const smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    return 1 / ((1 - smooth) / scaling.factor + smooth);
  });
}

function convert(config: Config, tensors: TensorTable): Buffer {
  const number = (key: string) => config[key] as number;
  const family = config.model_type as string;
  const arch = family === "mistral" ? "llama" : family === "gemma3_text" ? "gemma3" : family;
  const headDim = (config.head_dim as number | undefined) ?? number("hidden_size") / number("num_attention_heads");
  const parameters = (config.rope_parameters ?? {}) as Record<string, unknown>;
  const full = (parameters.full_attention ?? parameters) as Record<string, number>;
  const scaling = (config.rope_scaling ?? full) as Record<string, unknown>;
  const metadata: Record<string, GgufField> = { "general.architecture": { string: arch } };
  const set = (key: string, field: GgufField) => Object.assign(metadata, { [`${arch}.${key}`]: field });
  set("embedding_length", { u32: number("hidden_size") });
  set("feed_forward_length", { u32: number("intermediate_size") });
  set("block_count", { u32: number("num_hidden_layers") });
  set("context_length", { u32: number("max_position_embeddings") });
  set("attention.head_count", { u32: number("num_attention_heads") });
  set("attention.head_count_kv", { u32: number("num_key_value_heads") });
  set("attention.key_length", { u32: headDim });
  set("attention.layer_norm_rms_epsilon", { f32: number("rms_norm_eps") });
  set("rope.freq_base", { f32: (config.rope_theta as number | undefined) ?? full.rope_theta ?? 10000 });
  set("rope.dimension_count", { u32: headDim * (full.partial_rotary_factor ?? 1) });
  if (scaling.rope_type === "linear" || scaling.rope_type === "yarn") {
    set("rope.scaling.type", { string: scaling.rope_type });
    set("rope.scaling.factor", { f32: scaling.factor as number });
    if (scaling.rope_type === "yarn")
      set("rope.scaling.original_context_length", { u32: scaling.original_max_position_embeddings as number });
  }
  if (config.sliding_window) set("attention.sliding_window", { u32: number("sliding_window") });
  for (const [key, suffix] of [
    ["attn_logit_softcapping", "attn_logit_softcapping"],
    ["final_logit_softcapping", "final_logit_softcapping"],
    ["embedding_multiplier", "embedding_scale"],
    ["residual_multiplier", "residual_scale"],
    ["logits_scaling", "logit_scale"],
    ["attention_multiplier", "attention.scale"],
  ])
    if (config[key]) set(suffix, { f32: number(key) });
  const list = [...tensors.values()].map((entry) => convertTensor(entry, config));
  if (scaling.rope_type === "llama3") {
    const data = new Uint8Array(Float32Array.from(ropeDivisors(config, headDim)).buffer);
    list.push({ name: "rope_freqs.weight", shape: [headDim / 2], type: ggufTypes.f32, data });
  }
  return writeGguf(metadata, list);
}

/** What a GGUF file of this family implies and config.json may say otherwise. */
function implied(config: Config): Config {
  const family = config.model_type;
  const layers = config.num_hidden_layers as number;
  if (family === "gemma2") return { ...config, query_pre_attn_scalar: config.head_dim };
  if (family === "gemma3_text")
    return {
      ...config,
      layer_types: Array.from({ length: layers }, (_, i) => (i % 6 === 5 ? "full_attention" : "sliding_attention")),
    };
  if (family === "mistral") return { ...config, sliding_window: null };
  if (family === "smollm3") return { ...config, num_hidden_layers: 8, no_rope_layers: null, layer_types: null };
  return config;
}

/** The tensors of a config with more layers than the file has: the layers again from the first. */
function repeatLayers(tensors: TensorTable, had: number, layers: number): TensorTable {
  const out = new Map(tensors);
  for (const entry of tensors.values())
    for (let l = had; l < layers; l++) {
      if (!entry.name.startsWith(`model.layers.${l % had}.`)) continue;
      const name = entry.name.replace(/layers\.\d+/, `layers.${l}`);
      out.set(name, { ...entry, name });
    }
  return out;
}

describeShared("families from GGUF", (shared) => {
  const root = path.join(shared, "golden/families");
  const names = [
    "gemma2",
    "gemma3-text",
    "granite",
    "llama-headdim",
    "llama-linear-rope",
    "llama-tied",
    "llama-untied-bias",
  ];
  names.push(
    "llama-yarn-rope",
    "llama3-rope",
    "mistral-window",
    "olmo2",
    "phi3",
    "phi3-partial-rotary",
    "qwen2",
    "qwen3",
    "smollm3-nope",
  );
  test.each(names)("%s", async (name) => {
    const files = await openSource(path.join(root, name));
    const stored = files.config as Config;
    const config = implied(stored);
    const tensors = repeatLayers(files.tensors, stored.num_hidden_layers as number, config.num_hidden_layers as number);
    const model = specFromConfig(config);
    const next = uniform(5);
    const ids = Int32Array.from({ length: 90 }, () => Math.floor(next() * model.spec.vocab));
    const expected = await logitsOf(model, mapWeights(model, tensors, "folder", config), ids);
    const actual = await ggufLogits(convert(config, tensors), ids);
    expect(worstDifference(actual, expected) / deviation(expected)).toBeLessThan(1e-4);
  });
});

// ---------------------------------------------------------------- block formats

describe("formats from GGUF", () => {
  const [hidden, ffn, vocab, heads] = [256, 512, 96, 4];
  const shapes: Record<string, [number, number]> = {
    "token_embd.weight": [vocab, hidden],
    "blk.0.attn_q.weight": [hidden, hidden],
    "blk.0.attn_k.weight": [hidden, hidden],
    "blk.0.attn_v.weight": [hidden, hidden],
    "blk.0.attn_output.weight": [hidden, hidden],
    "blk.0.ffn_gate.weight": [ffn, hidden],
    "blk.0.ffn_up.weight": [ffn, hidden],
    "blk.0.ffn_down.weight": [hidden, ffn],
  };
  const norms = ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"];
  const metadata: Record<string, GgufField> = {
    "general.architecture": { string: "qwen2" },
    "qwen2.embedding_length": { u32: hidden },
    "qwen2.feed_forward_length": { u32: ffn },
    "qwen2.block_count": { u32: 1 },
    "qwen2.context_length": { u32: 64 },
    "qwen2.attention.head_count": { u32: heads },
    "qwen2.attention.head_count_kv": { u32: heads },
    "qwen2.attention.layer_norm_rms_epsilon": { f32: 1e-6 },
    "qwen2.rope.freq_base": { f32: 10000 },
  };
  // Elements and bytes of a block, and where its f16 factors lie.
  const blocks = {
    q4_0: [32, 18, [0]],
    q4_1: [32, 20, [0, 2]],
    q5_0: [32, 22, [0]],
    q5_1: [32, 24, [0, 2]],
    q8_0: [32, 34, [0]],
    q2_k: [256, 84, [80, 82]],
    q3_k: [256, 110, [108]],
    q4_k: [256, 144, [0, 2]],
    q5_k: [256, 176, [0, 2]],
    q6_k: [256, 210, [208]],
  } as const;

  const f32Tensor = (name: string, shape: readonly number[], values: Float32Array): GgufTensor => ({
    name,
    shape,
    type: ggufTypes.f32,
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  });
  const normTensors = norms.map((name, i) => f32Tensor(name, [hidden], normal(hidden, 90 + i)));

  /** Random blocks whose factors keep weights near 1 / sqrt(inputs). */
  function randomBlocks(type: keyof typeof blocks, rows: number, cols: number, seed: number): Uint8Array {
    const [elements, size, factors] = blocks[type];
    const next = uniform(seed);
    const bytes = Uint8Array.from({ length: (rows * cols * size) / elements }, () => Math.floor(next() * 256));
    const largest = {
      q4_0: 8,
      q4_1: 15,
      q5_0: 16,
      q5_1: 31,
      q8_0: 128,
      q2_k: 45,
      q3_k: 128,
      q4_k: 945,
      q5_k: 1953,
      q6_k: 4096,
    }[type];
    const [bits] = new Uint16Array(new Float16(2 / Math.sqrt(cols) / largest).buffer);
    for (let at = 0; at < bytes.length; at += size)
      factors.forEach((offset, i) => {
        const signed = i === 1 && (type === "q4_1" || type === "q5_1") ? bits | 0x8000 : bits;
        bytes[at + offset] = signed & 255;
        bytes[at + offset + 1] = signed >> 8;
      });
    return bytes;
  }

  /** An f16 of a number below 1, rounded down: enough for a factor. */
  class Float16 {
    readonly buffer: ArrayBuffer;
    constructor(value: number) {
      const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
      const exponent = ((bits >>> 23) & 255) - 112;
      const half = exponent > 0 ? (exponent << 10) | ((bits >>> 13) & 1023) : Math.floor(value * 2 ** 24);
      this.buffer = Uint16Array.of(half).buffer;
    }
  }

  test.each(Object.keys(blocks) as (keyof typeof blocks)[])("%s", async (type) => {
    const ids = Int32Array.from({ length: 20 }, (_, i) => (i * 37) % vocab);
    const quantised: GgufTensor[] = [];
    const dense: GgufTensor[] = [];
    Object.entries(shapes).forEach(([name, [rows, cols]], i) => {
      const data = randomBlocks(type, rows, cols, 7 * i + 1);
      quantised.push({ name, shape: [rows, cols], type: ggufTypes[type], data });
      dense.push(f32Tensor(name, [rows, cols], nativeOps.decodeGguf(type, data, cols).values));
    });
    const expected = await ggufLogits(writeGguf(metadata, [...dense, ...normTensors]), ids);
    const actual = await ggufLogits(writeGguf(metadata, [...quantised, ...normTensors]), ids);
    expect(deviation(expected)).toBeGreaterThan(0.01);
    expect(worstDifference(actual, expected) / deviation(expected)).toBeLessThan(1e-3);
  });
});
