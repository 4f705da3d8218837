// Models of a given shape with random weights, for speed alone: a llama in GGUF of one block format, or a folder of affine weights. Written once
// to the cache folder and reused.
import { createHash, randomFillSync } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { toF16 } from "../../dist/tensor/dtype.js";
import { ggufAlignment, ggufHead, ggufTypes } from "./gguf.mjs";

/** The shape of TinyLlama 1.1B, with a longer context. */
export const llama1b = { layers: 22, hidden: 2048, heads: 32, kvHeads: 4, ffn: 5632, vocab: 32_000, context: 32_768 };

const folder = process.env.OUTRIDER_BENCH_MODELS ?? path.join(tmpdir(), "outrider-bench-models");

// Bytes of one block and where its f16 factors are: they keep the weights near a deviation of 0.02, whatever the codes.
const blocks = {
  q2_k: {
    values: 256,
    bytes: 84,
    factors: [
      [80, 0.002],
      [82, 0.003],
    ],
  },
  q4_0: { values: 32, bytes: 18, factors: [[0, 0.004]] },
  q8_0: { values: 32, bytes: 34, factors: [[0, 0.00027]] },
  f16: { values: 1, bytes: 2, factors: [] },
  f32: { values: 1, bytes: 4, factors: [] },
};

/** Endless random bytes with the period of a large prime number of blocks. */
function randomBlocks(format) {
  const { bytes, factors } = blocks[format];
  const count = 100_003;
  const pool = randomFillSync(Buffer.alloc(count * bytes));
  for (let i = 0; i < count; i++) {
    for (const [at, value] of factors) pool.writeUInt16LE(toF16(value), i * bytes + at);
    // Both signs, 2^-10 to 2^-5.
    if (format === "f16") pool.writeUInt16LE(0x1400 + (pool.readUInt16LE(2 * i) & 0x93ff), 2 * i);
  }
  let from = 0;
  return (length, write) => {
    for (let left = length; left > 0; ) {
      const take = Math.min(left, pool.length - from);
      write(pool.subarray(from, from + take));
      from = (from + take) % pool.length;
      left -= take;
    }
  };
}

const ones = (count) => Buffer.from(new Float32Array(count).fill(1).buffer);

/** Writes `name` in the cache folder unless it is there, completely or not at all. */
function cached(name, write) {
  const target = path.join(folder, name);
  if (existsSync(target)) return target;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${target}.${process.pid}`;
  write(unfinished);
  renameSync(unfinished, target);
  return target;
}

const key = (shape) => createHash("sha256").update(JSON.stringify(shape)).digest("hex").slice(0, 8);

/** Tokens that no text needs: three special ones, 256 bytes and numbers. */
function vocabulary(count) {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const rest = Array.from({ length: count - 259 }, (_, i) => `\u2581t${i}`);
  return ["<unk>", "<s>", "</s>", ...bytes, ...rest];
}

/** A GGUF file with every matrix in `format`. */
export function ggufModel(shape, format) {
  return cached(`llama-${key(shape)}-${format}.gguf`, (file) => {
    const { layers, hidden, heads, kvHeads, ffn, vocab, context } = shape;
    const kv = (hidden / heads) * kvHeads;
    const tensors = [];
    const matrix = (name, rows, cols) => {
      const byteLength = (rows * cols * blocks[format].bytes) / blocks[format].values;
      tensors.push({ name, shape: [rows, cols], type: ggufTypes[format], byteLength });
    };
    const norm = (name) => tensors.push({ name, shape: [hidden], type: ggufTypes.f32, byteLength: hidden * 4 });
    matrix("token_embd.weight", vocab, hidden);
    matrix("output.weight", vocab, hidden);
    norm("output_norm.weight");
    for (let l = 0; l < layers; l++) {
      norm(`blk.${l}.attn_norm.weight`);
      matrix(`blk.${l}.attn_q.weight`, hidden, hidden);
      matrix(`blk.${l}.attn_k.weight`, kv, hidden);
      matrix(`blk.${l}.attn_v.weight`, kv, hidden);
      matrix(`blk.${l}.attn_output.weight`, hidden, hidden);
      norm(`blk.${l}.ffn_norm.weight`);
      matrix(`blk.${l}.ffn_gate.weight`, ffn, hidden);
      matrix(`blk.${l}.ffn_up.weight`, ffn, hidden);
      matrix(`blk.${l}.ffn_down.weight`, hidden, ffn);
    }
    const tokens = vocabulary(vocab);
    const metadata = {
      "general.architecture": { string: "llama" },
      "general.name": { string: "random" },
      "llama.embedding_length": { u32: hidden },
      "llama.feed_forward_length": { u32: ffn },
      "llama.block_count": { u32: layers },
      "llama.context_length": { u32: context },
      "llama.attention.head_count": { u32: heads },
      "llama.attention.head_count_kv": { u32: kvHeads },
      "llama.attention.layer_norm_rms_epsilon": { f32: 1e-5 },
      "llama.rope.freq_base": { f32: 10_000 },
      "llama.rope.dimension_count": { u32: hidden / heads },
      "tokenizer.ggml.model": { string: "llama" },
      "tokenizer.ggml.tokens": { strings: tokens },
      "tokenizer.ggml.scores": { f32s: tokens.map((_, id) => -id) },
      "tokenizer.ggml.token_type": { i32s: tokens.map((_, id) => (id < 1 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)) },
      "tokenizer.ggml.bos_token_id": { u32: 1 },
      "tokenizer.ggml.eos_token_id": { u32: 2 },
      "tokenizer.ggml.add_bos_token": { bool: false },
    };
    const random = randomBlocks(format);
    const out = openSync(file, "w");
    try {
      writeSync(out, ggufHead(metadata, tensors));
      for (const { shape: size, byteLength } of tensors) {
        if (size.length === 1) writeSync(out, ones(hidden));
        else random(byteLength, (bytes) => writeSync(out, bytes));
        writeSync(out, Buffer.alloc((ggufAlignment - (byteLength % ggufAlignment)) % ggufAlignment));
      }
    } finally {
      closeSync(out);
    }
  });
}

/** A folder with every matrix in affine codes of `bits` bits, f16 scales and zeros per `group` inputs. */
export function affineModel(shape, bits, group) {
  return cached(`llama-${key(shape)}-u${bits}-g${group}`, (target) => {
    const { layers, hidden, heads, kvHeads, ffn, vocab, context } = shape;
    const kv = (hidden / heads) * kvHeads;
    const header = {};
    const writes = [];
    let at = 0;
    const random = randomBlocks("f32");
    const tensor = (name, dtype, size, byteLength, write) => {
      header[name] = { dtype, shape: size, data_offsets: [at, at + byteLength] };
      at += byteLength;
      writes.push(write);
    };
    const constant = (value) => (rows, cols) => (put) =>
      put(Buffer.from(new Uint16Array(rows * cols).fill(value).buffer));
    // Zero mean, and a deviation of 0.02.
    const most = 2 ** bits - 1;
    const step = (0.02 * Math.sqrt(12)) / Math.sqrt((most + 1) ** 2 - 1);
    const [scale, zero] = [toF16(step), toF16((-step * most) / 2)];
    const matrix = (module, rows, cols) => {
      const codes = (rows * cols * bits) / 8;
      tensor(`${module}.codes`, "U8", [rows, (cols * bits) / 8], codes, (put) => random(codes, put));
      const groups = cols / group;
      tensor(`${module}.scale`, "F16", [rows, groups], rows * groups * 2, constant(scale)(rows, groups));
      tensor(`${module}.zero`, "F16", [rows, groups], rows * groups * 2, constant(zero)(rows, groups));
    };
    const norm = (name) => tensor(`${name}.weight`, "F32", [hidden], hidden * 4, (put) => put(ones(hidden)));
    matrix("model.embed_tokens", vocab, hidden);
    matrix("lm_head", vocab, hidden);
    norm("model.norm");
    for (let l = 0; l < layers; l++) {
      const layer = `model.layers.${l}`;
      norm(`${layer}.input_layernorm`);
      norm(`${layer}.post_attention_layernorm`);
      matrix(`${layer}.self_attn.q_proj`, hidden, hidden);
      matrix(`${layer}.self_attn.k_proj`, kv, hidden);
      matrix(`${layer}.self_attn.v_proj`, kv, hidden);
      matrix(`${layer}.self_attn.o_proj`, hidden, hidden);
      matrix(`${layer}.mlp.gate_proj`, ffn, hidden);
      matrix(`${layer}.mlp.up_proj`, ffn, hidden);
      matrix(`${layer}.mlp.down_proj`, hidden, ffn);
    }
    mkdirSync(target, { recursive: true });
    const json = (name, value) => writeFileSync(path.join(target, name), JSON.stringify(value));
    json("config.json", {
      model_type: "llama",
      hidden_size: hidden,
      intermediate_size: ffn,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      max_position_embeddings: context,
      rms_norm_eps: 1e-5,
      rope_theta: 10_000,
      tie_word_embeddings: false,
      vocab_size: vocab,
      hidden_act: "silu",
      eos_token_id: [2],
      quantization_config: { quant_method: "affine", bits, group_size: group },
    });
    json("tokenizer_config.json", { bos_token: "<s>", eos_token: "</s>" });
    json("tokenizer.json", {
      version: "1.0",
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "\u2581" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
        ],
      },
      model: {
        type: "BPE",
        unk_token: "<unk>",
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(vocabulary(vocab).map((token, id) => [token, id])),
        merges: [],
      },
    });
    const out = openSync(path.join(target, "model.safetensors"), "w");
    try {
      const text = Buffer.from(JSON.stringify(header));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(text.length));
      writeSync(out, length);
      writeSync(out, text);
      for (const write of writes) write((bytes) => writeSync(out, bytes));
    } finally {
      closeSync(out);
    }
  });
}
