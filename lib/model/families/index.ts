// The families outrider runs. Adding one: a descriptor here, a golden folder in the tests, a line in the README.

import { ropeSpec } from "../rope-config.ts";
import { applyWindows, type Family, llamaLike } from "./family.ts";

const llama: Family = { ...llamaLike, name: "llama", gguf: "llama", ggufPermuted: true };

const mistral: Family = {
  ...llamaLike,
  name: "mistral",
  gguf: "llama",
  ggufPermuted: true,
  keys: ["sliding_window"],
  configure: (config, spec) => applyWindows(config, spec, () => true),
};

/** Qwen: a window only where use_sliding_window says so, from layer max_window_layers on. */
const qwenWindows: Family["configure"] = (config, spec) => {
  if (!config.flag("use_sliding_window")) return;
  const first = config.number("max_window_layers", 28);
  applyWindows(config, spec, (layer) => layer >= first);
};

const qwen: Omit<Family, "name" | "gguf"> = { ...llamaLike, keys: ["sliding_window"], configure: qwenWindows };
const qwen2: Family = { ...qwen, name: "qwen2", gguf: "qwen2" };
const qwen3: Family = {
  ...qwen,
  name: "qwen3",
  gguf: "qwen3",
  qkNorm: "head",
  keys: ["sliding_window", "use_qk_norm", "qk_norm"],
};

const phi3: Family = {
  ...llamaLike,
  name: "phi3",
  gguf: "phi3",
  fused: true,
  keys: ["sliding_window"],
  configure: (config, spec) => applyWindows(config, spec, () => true),
};

/** What both Gemma generations share. */
function configureGemma(
  config: Parameters<NonNullable<Family["configure"]>>[0],
  spec: Parameters<NonNullable<Family["configure"]>>[1],
): void {
  spec.embeddingScale = Math.fround(Math.sqrt(spec.hidden));
  spec.attentionScale = config.number("query_pre_attn_scalar", 256) ** -0.5;
  spec.attentionSoftCap = config.has("attn_logit_softcapping") ? config.number("attn_logit_softcapping") : 0;
  spec.logitSoftCap = config.has("final_logit_softcapping") ? config.number("final_logit_softcapping") : 0;
}

const gemma: Omit<Family, "name" | "gguf"> = {
  ...llamaLike,
  norms: "sandwich",
  normOffset: 1,
  tiedByDefault: true,
  keys: ["sliding_window", "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"],
};

const gemma2: Family = {
  ...gemma,
  name: "gemma2",
  gguf: "gemma2",
  configure(config, spec) {
    configureGemma(config, spec);
    applyWindows(config, spec, (layer) => layer % 2 === 0);
  },
};

const gemma3: Family = {
  ...gemma,
  name: "gemma3_text",
  gguf: "gemma3",
  qkNorm: "head",
  keys: [...gemma.keys, "use_qk_norm", "qk_norm"],
  configure(config, spec) {
    configureGemma(config, spec);
    const pattern = config.integer("sliding_window_pattern", 1024, config.integer("_sliding_window_pattern", 1024, 6));
    applyWindows(config, spec, (layer) => (layer + 1) % pattern !== 0);
    // Sliding layers have a rotary table of their own, whatever scaling the full ones use.
    spec.ropes.push(ropeSpec(config, spec.headDim, "sliding_attention", true));
    for (const layer of spec.layers) layer.rope = layer.window > 0 ? 1 : 0;
  },
};

const smollm3: Family = {
  ...llamaLike,
  name: "smollm3",
  gguf: "smollm3",
  ggufPermuted: true,
  tiedByDefault: true,
  keys: ["sliding_window", "no_rope_layers", "no_rope_layer_interval"],
  configure(config, spec) {
    const interval = config.integer("no_rope_layer_interval", 1024, 4);
    const flags = config.array("no_rope_layers", spec.layers.length);
    spec.layers.forEach((layer, i) => {
      const rotates = flags ? flags[i] === 1 || flags[i] === true : (i + 1) % interval !== 0; // 1 means "uses RoPE"
      if (!rotates) layer.rope = -1;
    });
    if (config.flag("use_sliding_window")) applyWindows(config, spec, (layer) => spec.layers[layer].rope < 0);
  },
};

const olmo2: Family = {
  ...llamaLike,
  name: "olmo2",
  gguf: "olmo2",
  norms: "post",
  qkNorm: "full",
  keys: ["use_qk_norm", "qk_norm"],
};

const granite: Family = {
  ...llamaLike,
  name: "granite",
  gguf: "granite",
  ggufPermuted: true,
  keys: ["attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling"],
  configure(config, spec) {
    spec.attentionScale = config.number("attention_multiplier", spec.attentionScale);
    spec.residualScale = config.number("residual_multiplier", 1);
    spec.embeddingScale = config.number("embedding_multiplier", 1);
    const scaling = config.number("logits_scaling", 1);
    if (scaling === 0) throw config.bad("logits_scaling", "a number other than 0");
    spec.logitScale = 1 / scaling;
  },
};

/** Every supported family. */
export const families: readonly Family[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  phi3,
  gemma2,
  gemma3,
  smollm3,
  olmo2,
  granite,
];
