// What a config or a file asks for beyond its family is refused by name, and what changes nothing is not.
import { describe, expect, test } from "vitest";
import { specFromConfig } from "../../lib/model/config.ts";
import { families } from "../../lib/model/families/index.ts";
import { specFromGguf } from "../../lib/model/gguf-config.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import type { TensorTable } from "../../lib/tensor/entry.ts";
import { code } from "../support/errors.ts";
import { microConfig, microTensors } from "../support/micro-model.ts";

const { rope_scaling: _, quantization_config: __, ...plain } = microConfig;
type Config = Record<string, unknown>;
const configOf = (model_type: string, changes: Config = {}): Config => ({ ...plain, model_type, ...changes });

// Values that ask for something, and the families that do it.
const asked: Record<string, { active: unknown; neutral: unknown[]; done?: string[] }> = {
  attn_logit_softcapping: { active: 30, neutral: [null, 0, false], done: ["gemma2", "gemma3_text"] },
  final_logit_softcapping: { active: 30, neutral: [null, 0, false], done: ["gemma2", "gemma3_text"] },
  embedding_multiplier: { active: 12, neutral: [null, 1], done: ["granite"] },
  residual_multiplier: { active: 0.2, neutral: [null, 1], done: ["granite"] },
  logits_scaling: { active: 8, neutral: [null, 1], done: ["granite"] },
  attention_multiplier: { active: 0.5, neutral: [null, plain.head_dim ** -0.5], done: ["granite"] },
  query_pre_attn_scalar: { active: 99, neutral: [null, plain.head_dim], done: ["gemma2", "gemma3_text"] },
  use_qk_norm: { active: true, neutral: [null, false], done: ["qwen3", "gemma3_text", "olmo2"] },
  sliding_window: {
    active: 16,
    neutral: [null, 0],
    done: ["mistral", "phi3", "gemma2", "gemma3_text", "qwen2", "qwen3", "smollm3"],
  },
  no_rope_layers: { active: [0], neutral: [null, [1]], done: ["smollm3"] },
  use_bidirectional_attention: { active: true, neutral: [null, false] },
  logit_scale: { active: 0.06, neutral: [null, 1] },
  num_local_experts: { active: 8, neutral: [null, 0] },
  attention_chunk_size: { active: 8192, neutral: [null] },
  layer_types: { active: ["linear_attention"], neutral: [null, ["full_attention"]] },
};
const names = families.map(({ name }) => name);

describe.each(Object.entries(asked))("%s", (key, { active, neutral, done = [] }) => {
  test.each(names)("%s", (family) => {
    const read = (value: unknown) => specFromConfig(configOf(family, { [key]: value }));
    if (done.includes(family)) read(active);
    else expect(() => read(active)).toThrow(code("OUTRIDER_UNSUPPORTED", new RegExp(`for ${key}\\b`)));
    const zero = done.includes(family) && (key === "sliding_window" || key.includes("softcap"));
    for (const value of zero ? [null] : neutral) read(value);
  });
});

test("a window that use_sliding_window turns off changes nothing, in any family", () => {
  for (const family of ["llama", "olmo2", "granite", "qwen2", "qwen3"])
    specFromConfig(configOf(family, { sliding_window: 16, use_sliding_window: false }));
});

test("layers that slide need a window", () => {
  const config = configOf("qwen2", { layer_types: ["sliding_attention"], sliding_window: 16 });
  expect(() => specFromConfig({ ...config, use_sliding_window: false })).toThrow(
    code("OUTRIDER_UNSUPPORTED", /layer_types\[0\] is sliding_attention, for sliding_window/),
  );
  expect(specFromConfig({ ...config, use_sliding_window: true }).spec.layers[0].window).toBe(16);
});

test("qwen slides from layer max_window_layers on, 28 where it is not given; smollm3 in layers without RoPE", () => {
  const windows = (config: Config) =>
    specFromConfig({ ...config, num_hidden_layers: 30, sliding_window: 16, use_sliding_window: true })
      .spec.layers.map(({ window }, i) => (window > 0 ? i : -1))
      .filter((i) => i >= 0);
  expect(windows(configOf("qwen2"))).toEqual([28, 29]);
  expect(windows(configOf("qwen2", { max_window_layers: 29 }))).toEqual([29]);
  expect(windows(configOf("smollm3"))).toEqual([3, 7, 11, 15, 19, 23, 27]);
});

test("only decoders that predict the next token are run", () => {
  const refused = (changes: Config, message: RegExp) =>
    expect(() => specFromConfig(configOf("llama", changes))).toThrow(code("OUTRIDER_UNSUPPORTED", message));
  specFromConfig(configOf("llama", { architectures: ["LlamaForCausalLM"], is_decoder: true }));
  specFromConfig(configOf("llama", { architectures: null }));
  refused({ architectures: ["LlamaForSequenceClassification"] }, /architectures.*LlamaForSequenceClassification$/);
  refused({ architectures: ["LlamaModel"] }, /ForCausalLM for architectures/);
  refused({ is_decoder: false }, /is_decoder.*received false$/);
  refused({ is_encoder_decoder: true }, /is_encoder_decoder/);
  const { model_type: ___, ...text_config } = configOf("gemma3_text");
  const gemma3 = { model_type: "gemma3", text_config };
  specFromConfig({ ...gemma3, architectures: ["Gemma3ForConditionalGeneration"] });
  expect(() => specFromConfig({ ...gemma3, architectures: ["Gemma3ForSequenceClassification"] })).toThrow(
    /architectures/,
  );
});

test("GGUF keys mean the same", async () => {
  const metadata = new Map<string, unknown>(
    Object.entries({
      "general.architecture": "llama",
      "llama.embedding_length": 32,
      "llama.feed_forward_length": 64,
      "llama.block_count": 1,
      "llama.attention.head_count": 2,
    }),
  );
  const tensors: TensorTable = new Map([
    [
      "token_embd.weight",
      { name: "token_embd.weight", format: "f32", shape: [64, 32], file: "", offset: 0, byteLength: 0 },
    ],
  ]);
  await specFromGguf(metadata, tensors);
  for (const [key, value, named] of [
    ["attention.causal", false, "is_decoder"],
    ["attention.clamp_kqv", 8, "clip_qkv"],
    ["attention.max_alibi_bias", 8, "alibi"],
    ["final_logit_softcapping", 30, "final_logit_softcapping"],
    ["expert_count", 8, "num_local_experts"],
  ] as const) {
    await expect(specFromGguf(new Map([...metadata, [`llama.${key}`, value]]), tensors)).rejects.toEqual(
      code("OUTRIDER_UNSUPPORTED", new RegExp(`for ${named} `)),
    );
  }
});

describe("tensors", () => {
  type Shapes = Record<string, readonly number[]>;
  const stored: Shapes = Object.fromEntries(
    Object.entries(microTensors()).flatMap(([name, { shape }]) => {
      if (name.endsWith(".codes")) return [[name.replace(/codes$/, "weight"), [shape[0], shape[1] * 2]]];
      return /\.(scale|zero)$/.test(name) ? [] : [[name, shape]];
    }),
  );
  const map = (config: Config, extra: Shapes = {}) => {
    const tensors: TensorTable = new Map(
      Object.entries({ ...stored, ...extra }).map(([name, shape]) => [
        name,
        { name, format: "f32" as const, shape, file: "model.safetensors", offset: 0, byteLength: 4 },
      ]),
    );
    return mapWeights(specFromConfig({ ...plain, ...config }), tensors, "folder", config);
  };
  const head = { "lm_head.weight": [plain.vocab_size, plain.hidden_size] };

  test("those a config promises must be there", () => {
    map({});
    expect(() => map({ attention_bias: true })).toThrow(
      code(
        "OUTRIDER_FORMAT",
        /q_proj.bias \(because of attention_bias\), .*o_proj.bias \(because of attention_bias\)$/,
      ),
    );
    expect(() => map({ mlp_bias: true })).toThrow(
      code("OUTRIDER_FORMAT", /gate_proj.bias \(because of mlp_bias\), .*down_proj.bias \(because of mlp_bias\)$/),
    );
    expect(() => map({ tie_word_embeddings: false })).toThrow(
      code("OUTRIDER_FORMAT", /missing lm_head.weight \(because tie_word_embeddings is false\)$/),
    );
    expect(map({ tie_word_embeddings: false }, head).weights.head).toBeDefined();
  });

  test("those that nothing reads are refused by name", () => {
    const refused = (extra: Shapes, names: RegExp) =>
      expect(() => map({}, extra)).toThrow(code("OUTRIDER_UNSUPPORTED", names));
    refused({ "model.layers.0.self_attn.q_norm.weight": [16] }, /also model.layers.0.self_attn.q_norm.weight$/);
    refused({ "model.layers.1.input_layernorm.weight": [32] }, /also model.layers.1.input_layernorm.weight$/);
    refused({ "lm_head.bias": [64] }, /also lm_head.bias$/);
    refused({ "vision_tower.x.weight": [1] }, /also vision_tower.x.weight$/);
    refused(Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`extra.${i}`, [1]])), /extra.4 and 2 more$/);
  });

  test("those that say nothing new are not", () => {
    map(
      {},
      {
        ...head,
        "model.layers.0.self_attn.rotary_emb.inv_freq": [8],
        "model.layers.0.self_attn.masked_bias": [],
        "model.layers.0.mlp.up_proj.loss": [64],
      },
    );
  });
});
