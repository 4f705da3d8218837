// config.json to DecoderSpec.

import { describe, OutriderError } from "../errors.ts";
import type { DecoderSpec } from "../native.ts";
import { ConfigReader } from "./config-reader.ts";
import type { Family } from "./families/family.ts";
import { families } from "./families/index.ts";
import { refuseUnknown } from "./refused.ts";
import { ropeSpec } from "./rope-config.ts";

/** A decoder with the family it belongs to and what the config says of its tensors. */
export interface ModelConfig {
  spec: DecoderSpec;
  family: Family;
  /** The output head is the embedding. */
  tied: boolean;
  /** Keys that say that the projections of attention, or of the MLP, have biases. */
  attentionBias: string | undefined;
  mlpBias: string | undefined;
}

const activations: Record<string, DecoderSpec["activation"]> = {
  silu: "silu",
  swish: "silu",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu: "gelu",
};

function familyOf(config: ConfigReader): Family {
  const name = config.values.model_type;
  const family = families.find((candidate) => candidate.name === name);
  if (!family) {
    const known = families.map((candidate) => candidate.name).join(", ");
    throw new OutriderError("OUTRIDER_UNSUPPORTED", `Expected model_type ${known}, received ${describe(name)}`);
  }
  return family;
}

/**
 * Reads a Hugging Face config, in the spelling of transformers 4 or 5.
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED naming the family or key it cannot run, OUTRIDER_FORMAT for impossible values.
 */
export function specFromConfig(values: Record<string, unknown>): ModelConfig {
  const whole = new ConfigReader(values);
  let config = whole;
  if (values.model_type === "gemma3" && config.has("text_config")) {
    config = new ConfigReader({ model_type: "gemma3_text", ...config.object("text_config")?.values });
  }
  const family = familyOf(config);
  const hidden = config.integer("hidden_size", 2 ** 20);
  const heads = config.integer("num_attention_heads", 4096);
  const kvHeads = config.integer("num_key_value_heads", 4096, heads);
  if (heads % kvHeads !== 0) throw config.bad("num_key_value_heads", `a divisor of ${heads} heads`);
  const headDim = config.integer("head_dim", 512, hidden % heads === 0 ? hidden / heads : undefined);
  if (headDim % 2 !== 0) throw config.bad("head_dim", "an even number");
  const activationKey = config.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const activation = activations[config.string(activationKey, "silu")];
  if (!activation) throw config.unsupported(activationKey, Object.keys(activations).join(", "));
  const layers = config.integer("num_hidden_layers", 4096);
  const normEps = config.number("rms_norm_eps", 1e-6);
  if (!(normEps >= 0 && normEps < 1)) throw config.bad("rms_norm_eps", "a number in [0, 1)");

  const spec: DecoderSpec = {
    family: family.name,
    hidden,
    ffn: config.integer("intermediate_size", 2 ** 22),
    vocab: config.integer("vocab_size", 2 ** 24),
    heads,
    kvHeads,
    headDim,
    contextLength: config.integer("max_position_embeddings", 2 ** 24, 2048),
    normEps,
    activation,
    qkNorm: family.qkNorm,
    embeddingScale: 1,
    residualScale: 1,
    attentionScale: headDim ** -0.5,
    attentionSoftCap: 0,
    logitScale: 1,
    logitSoftCap: 0,
    ropes: [ropeSpec(config, headDim)],
    layers: Array.from({ length: layers }, () => ({ rope: 0, window: 0 })),
  };
  family.configure?.(config, spec);
  refuseUnknown(config, whole, family, spec);
  return {
    spec,
    family,
    tied: config.flag("tie_word_embeddings", family.tiedByDefault),
    attentionBias: config.flag("attention_bias") ? "attention_bias" : undefined,
    mlpBias: config.flag("mlp_bias") ? "mlp_bias" : undefined,
  };
}
