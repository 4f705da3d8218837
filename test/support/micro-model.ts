// A model of a few thousand weights with everything a real one has, as a folder and as GGUF: raw material for tests of loading.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type GgufField, type GgufTensor, ggufTypes } from "../../bench/shapes/gguf.mjs";
import { normal, uniform } from "./random.ts";

const [hidden, ffn, vocab, heads, kvHeads, headDim] = [32, 64, 64, 2, 1, 16];

/** A stored tensor of a safetensors file. */
export interface StoredTensor {
  dtype: string;
  shape: readonly number[];
  data: Uint8Array;
}

/** Header of a safetensors file: names to dtype, shape and byte range. */
export type SafetensorsHeader = Record<string, unknown>;

export function safetensorsHeader(tensors: Readonly<Record<string, StoredTensor>>): SafetensorsHeader {
  let at = 0;
  const header: SafetensorsHeader = { __metadata__: { format: "pt" } };
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.length] };
    at += data.length;
  }
  return header;
}

/** A safetensors file of a header, right or wrong, and the tensors' bytes. */
export function safetensorsBytes(header: string, tensors: Readonly<Record<string, StoredTensor>>): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...Object.values(tensors).map((tensor) => tensor.data)]);
}

/** A whole file of these tensors. */
export function safetensorsFile(tensors: Readonly<Record<string, StoredTensor>>): Buffer {
  return safetensorsBytes(JSON.stringify(safetensorsHeader(tensors)), tensors);
}

export const bytesOf = (values: Float32Array | Uint16Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** f32 and affine u4 weights: the MLP is quantised in groups of 16. */
export function microTensors(): Record<string, StoredTensor> {
  const tensors: Record<string, StoredTensor> = {};
  let seed = 1;
  const dense = (name: string, ...shape: number[]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const data = shape.length === 1 ? new Float32Array(count).fill(1) : normal(count, seed++, hidden ** -0.5);
    tensors[name] = { dtype: "F32", shape, data: bytesOf(data) };
  };
  const affine = (module: string, rows: number, cols: number) => {
    const next = uniform(seed++);
    const codes = Uint8Array.from({ length: (rows * cols) / 2 }, () => Math.floor(next() * 256));
    const groups = rows * (cols / 16);
    tensors[`${module}.codes`] = { dtype: "U8", shape: [rows, cols / 2], data: codes };
    tensors[`${module}.scale`] = {
      dtype: "F16",
      shape: [rows, cols / 16],
      data: bytesOf(new Uint16Array(groups).fill(0x2400)),
    };
    tensors[`${module}.zero`] = {
      dtype: "F16",
      shape: [rows, cols / 16],
      data: bytesOf(new Uint16Array(groups).fill(0xb000)),
    };
  };
  dense("model.embed_tokens.weight", vocab, hidden);
  dense("model.layers.0.self_attn.q_proj.weight", heads * headDim, hidden);
  dense("model.layers.0.self_attn.k_proj.weight", kvHeads * headDim, hidden);
  dense("model.layers.0.self_attn.v_proj.weight", kvHeads * headDim, hidden);
  dense("model.layers.0.self_attn.o_proj.weight", hidden, heads * headDim);
  affine("model.layers.0.mlp.gate_proj", ffn, hidden);
  affine("model.layers.0.mlp.up_proj", ffn, hidden);
  affine("model.layers.0.mlp.down_proj", hidden, ffn);
  for (const norm of ["model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"])
    dense(`${norm}.weight`, hidden);
  return tensors;
}

export const microConfig = {
  model_type: "llama",
  hidden_size: hidden,
  intermediate_size: ffn,
  num_hidden_layers: 1,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
  head_dim: headDim,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 },
  tie_word_embeddings: true,
  vocab_size: vocab,
  hidden_act: "silu",
  torch_dtype: "float32",
  eos_token_id: [1],
  quantization_config: { quant_method: "affine", bits: 4, group_size: 16 },
};

const letters = Array.from("abcdefghijklmnopqrstuvwxyzĠ.,!?ABCDE");
const merges = ["t h", "th e", "Ġ the", "a n", "an d", "i n", "in g"];
/** 64 tokens or fewer: two special ones, letters and merges. */
export const microTokens = ["<s>", "</s>", ...letters, ...merges.map((merge) => merge.replace(" ", ""))];

/** Byte-level BPE. */
export const microTokenizer = {
  version: "1.0",
  added_tokens: ["<s>", "</s>"].map((content, id) => ({
    id,
    content,
    special: true,
    normalized: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
  })),
  normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }] },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: "\\p{N}{1,3}|\\s+" }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    ],
  },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    unk_token: null,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(microTokens.map((token, id) => [token, id])),
    merges,
  },
};

/** SentencePiece-like BPE with byte fallback. */
export const microSentencePiece = {
  version: "1.0",
  added_tokens: microTokenizer.added_tokens,
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "BPE",
    unk_token: "<s>",
    fuse_unk: true,
    byte_fallback: true,
    vocab: Object.fromEntries(
      ["<s>", "</s>", "▁", "<0x0A>", "<0xC3>", "<0xA9>", ..."abcdefth", "th", "▁th"].map((token, id) => [token, id]),
    ),
    merges: ["t h", "▁ th"],
  },
};

export const microTokenizerConfig = {
  bos_token: "<s>",
  eos_token: "</s>",
  chat_template: "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}a:",
};

/** Writes the folder; parts may be replaced by mutated ones. */
export function writeMicroFolder(
  folder: string,
  parts: { config?: unknown; tokenizer?: unknown; weights?: Uint8Array } = {},
): void {
  mkdirSync(folder, { recursive: true });
  const json = (name: string, value: unknown) => writeFileSync(path.join(folder, name), JSON.stringify(value));
  json("config.json", parts.config ?? microConfig);
  json("tokenizer.json", parts.tokenizer ?? microTokenizer);
  json("tokenizer_config.json", microTokenizerConfig);
  writeFileSync(path.join(folder, "model.safetensors"), parts.weights ?? safetensorsFile(microTensors()));
}

/** Metadata and tensors of the same model, dense and in Q4_0, as a GGUF file of the qwen2 architecture. */
export function microGguf(): { metadata: Record<string, GgufField>; tensors: GgufTensor[] } {
  const f32 = (name: string, ...shape: number[]): GgufTensor => {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = shape.length === 1 ? new Float32Array(count).fill(1) : normal(count, name.length, hidden ** -0.5);
    return { name, shape, type: ggufTypes.f32, data: bytesOf(values) };
  };
  const q4 = (name: string, rows: number, cols: number): GgufTensor => {
    const next = uniform(name.length);
    const data = Uint8Array.from({ length: (rows * cols * 18) / 32 }, (_, i) =>
      i % 18 === 0 ? 0 : i % 18 === 1 ? 0x28 : Math.floor(next() * 256),
    );
    return { name, shape: [rows, cols], type: ggufTypes.q4_0, data };
  };
  return {
    metadata: {
      "general.architecture": { string: "qwen2" },
      "general.name": { string: "micro" },
      "general.alignment": { u32: 32 },
      "qwen2.embedding_length": { u32: hidden },
      "qwen2.feed_forward_length": { u32: ffn },
      "qwen2.block_count": { u32: 1 },
      "qwen2.context_length": { u32: 256 },
      "qwen2.attention.head_count": { u32: heads },
      "qwen2.attention.head_count_kv": { u32: kvHeads },
      "qwen2.attention.key_length": { u32: headDim },
      "qwen2.attention.layer_norm_rms_epsilon": { f32: 1e-6 },
      "qwen2.rope.freq_base": { f32: 10000 },
      "tokenizer.ggml.model": { string: "gpt2" },
      "tokenizer.ggml.pre": { string: "smollm" },
      "tokenizer.ggml.tokens": { strings: microTokens },
      "tokenizer.ggml.token_type": { i32s: microTokens.map((_, id) => (id < 2 ? 3 : 1)) },
      "tokenizer.ggml.merges": { strings: merges },
      "tokenizer.ggml.bos_token_id": { u32: 0 },
      "tokenizer.ggml.eos_token_id": { u32: 1 },
      "tokenizer.ggml.add_bos_token": { bool: false },
      "tokenizer.chat_template": { string: microTokenizerConfig.chat_template },
    },
    tensors: [
      f32("token_embd.weight", vocab, hidden),
      f32("blk.0.attn_q.weight", heads * headDim, hidden),
      f32("blk.0.attn_k.weight", kvHeads * headDim, hidden),
      f32("blk.0.attn_v.weight", kvHeads * headDim, hidden),
      f32("blk.0.attn_output.weight", hidden, heads * headDim),
      q4("blk.0.ffn_gate.weight", ffn, hidden),
      q4("blk.0.ffn_up.weight", ffn, hidden),
      q4("blk.0.ffn_down.weight", hidden, ffn),
      f32("blk.0.attn_norm.weight", hidden),
      f32("blk.0.ffn_norm.weight", hidden),
      f32("output_norm.weight", hidden),
    ],
  };
}
