// Rotary parameters out of a config, in the spelling of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters).

import type { RopeSpec } from "../native.ts";
import { ropeFrequencies } from "../ops/rope-frequencies.ts";
import { ConfigReader } from "./config-reader.ts";

const types = ["default", "linear", "llama3", "yarn"] as const;

function build(source: ConfigReader, config: ConfigReader, headDim: number, theta: number): RopeSpec {
  const type = source.string("rope_type", source.string("type", "default"));
  const known = types.find((name) => name === type);
  if (!known) throw source.unsupported(source.has("rope_type") ? "rope_type" : "type", `one of ${types.join(", ")}`);
  const partial = source.number("partial_rotary_factor", config.number("partial_rotary_factor", 1));
  if (!(partial > 0 && partial <= 1)) throw config.bad("partial_rotary_factor", "a number in (0, 1]");
  const optional = (key: string) => (source.has(key) ? source.number(key) : undefined);
  const frequencies = ropeFrequencies({
    type: known,
    theta,
    dim: Math.floor(headDim * partial),
    factor: optional("factor"),
    originalContext:
      optional("original_max_position_embeddings") ?? config.integer("max_position_embeddings", 2 ** 24, 2048),
    lowFrequencyFactor: optional("low_freq_factor"),
    highFrequencyFactor: optional("high_freq_factor"),
    betaFast: optional("beta_fast"),
    betaSlow: optional("beta_slow"),
    truncate: source.flag("truncate", true),
    attentionFactor: optional("attention_factor"),
    mscale: optional("mscale"),
    mscaleAllDim: optional("mscale_all_dim"),
  });
  return { ...frequencies, interleaved: false };
}

/**
 * The rotary table of one kind of layer.
 * @param layerType key of `rope_parameters` where it is nested ("full_attention", "sliding_attention")
 * @param local the sliding layers of gemma3, which ignore rope_scaling and have rope_local_base_freq in the old spelling
 */
export function ropeSpec(config: ConfigReader, headDim: number, layerType = "full_attention", local = false): RopeSpec {
  const parameters = config.object("rope_parameters");
  if (parameters) {
    const source = parameters.object(layerType) ?? parameters;
    return build(source, config, headDim, source.number("rope_theta", config.number("rope_theta", 10000)));
  }
  const empty = new ConfigReader({});
  if (local) return build(empty, config, headDim, config.number("rope_local_base_freq", 10000));
  return build(config.object("rope_scaling") ?? empty, config, headDim, config.number("rope_theta", 10000));
}
