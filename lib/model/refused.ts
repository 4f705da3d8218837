// What a config may ask for and this decoder does not do: refused by name, because ignoring it would give other text.

import { OutriderError } from "../errors.ts";
import type { DecoderSpec } from "../native.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { Family } from "./families/family.ts";

type Neutral = (value: unknown, spec: DecoderSpec) => boolean;

const off: Neutral = (value) => value === false || value === 0;
const one: Neutral = (value) => value === 1 || value === false;
/** A factor that says what Llama does anyway; GGUF keeps it in f32. */
const perHead: Neutral = (value, { headDim }) => Math.abs(Number(value) * Math.sqrt(headDim) - 1) < 1e-6;

/** Keys that change the computation, and their values that change nothing. null never does. */
const keys: Record<string, Neutral> = {
  num_local_experts: off,
  num_experts: off,
  n_routed_experts: off,
  attention_sinks: off,
  attention_chunk_size: off,
  use_mrope: off,
  clip_qkv: off,
  alibi: off,
  rope_interleave: off,
  use_bidirectional_attention: off,
  dual_chunk_attention_config: off,
  use_qk_norm: off,
  qk_norm: off,
  qk_layernorm: off,
  sliding_window: off,
  attn_logit_softcapping: off,
  final_logit_softcapping: off,
  embedding_multiplier: one,
  residual_multiplier: one,
  logits_scaling: one,
  logit_scale: one,
  attention_multiplier: perHead,
  query_pre_attn_scalar: (value, { headDim }) => value === headDim,
  no_rope_layers: (value) => Array.isArray(value) && value.every((uses) => uses === 1 || uses === true),
  no_rope_layer_interval: off,
};

const layerTypes = ["full_attention", "sliding_attention"];

function checkLayerTypes(config: ConfigReader, spec: DecoderSpec): void {
  const types = config.array("layer_types", spec.layers.length);
  types?.forEach((type, i) => {
    if (!layerTypes.includes(type as string)) {
      const at = `layer_types[${i}] in the model's config`;
      throw new OutriderError(
        "OUTRIDER_UNSUPPORTED",
        `Expected ${layerTypes.join(" or ")} for ${at}, received ${JSON.stringify(type)}`,
      );
    }
    if (type === "sliding_attention" && spec.layers[i].window === 0)
      throw config.unsupported("sliding_window", `a window, as layer_types[${i}] is sliding_attention,`);
  });
}

/** A model that was saved with another head than the one that predicts the next token, or that is no decoder. */
function checkPurpose(whole: ConfigReader, isPart: boolean): void {
  if (whole.values.is_decoder === false) throw whole.unsupported("is_decoder", "true");
  if (whole.values.is_encoder_decoder === true) throw whole.unsupported("is_encoder_decoder", "false");
  if (!whole.has("architectures")) return;
  const ending = isPart ? "ForConditionalGeneration" : "ForCausalLM";
  const names = [whole.values.architectures].flat();
  if (names.every((name) => typeof name === "string" && name.endsWith(ending))) return;
  throw new OutriderError(
    "OUTRIDER_UNSUPPORTED",
    `Expected names that end in ${ending} for architectures in the model's config, received ${names.map(String).join(", ")}`,
  );
}

/**
 * Refuses a config that asks for more than its family does here.
 * @param config of the decoder
 * @param whole the config around it, for models that are more than a decoder
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED naming the key.
 */
export function refuseUnknown(config: ConfigReader, whole: ConfigReader, family: Family, spec: DecoderSpec): void {
  checkPurpose(whole, whole !== config);
  checkLayerTypes(config, spec);
  const noWindow = config.values.use_sliding_window === false;
  for (const [key, neutral] of Object.entries(keys)) {
    if (!config.has(key) || family.keys.includes(key) || neutral(config.values[key], spec)) continue;
    if (key === "sliding_window" && noWindow) continue;
    throw config.unsupported(key, `a value that changes nothing in a ${family.name} model`);
  }
}
