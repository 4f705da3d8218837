// A family is a small descriptor of what differs from Llama; one decoder step serves all.

import type { DecoderSpec } from "../../native.ts";
import type { ConfigReader } from "../config-reader.ts";

/** What differs between families. */
export interface Family {
  /** `model_type` of config.json. */
  readonly name: string;
  /** `general.architecture` of GGUF files. */
  readonly gguf: string;
  /**
   * Where RMSNorms stand. "pre": before attention and MLP (Llama). "post": after each, before the residual add (OLMo 2).
   * "sandwich": both (Gemma 2 and 3).
   */
  readonly norms: "pre" | "post" | "sandwich";
  /** Added to stored norm weights of Hugging Face folders: 1 where they are stored minus one. GGUF stores the sum. */
  readonly normOffset: number;
  readonly qkNorm: DecoderSpec["qkNorm"];
  /** q, k, v and gate, up are stored as one matrix each. */
  readonly fused: boolean;
  /** GGUF files hold rows of q and k interleaved for RoPE on neighbouring pairs. */
  readonly ggufPermuted: boolean;
  /** `tie_word_embeddings` where the config does not say. */
  readonly tiedByDefault: boolean;
  /** Keys that change the computation and are carried out for this family, out of those of lib/model/refused.ts. */
  readonly keys: readonly string[];
  /** Adjusts a spec that has Llama's values. */
  configure?(config: ConfigReader, spec: DecoderSpec): void;
}

/** Llama's descriptor; others override what differs. */
export const llamaLike: Omit<Family, "name" | "gguf"> = {
  norms: "pre",
  normOffset: 0,
  qkNorm: "none",
  fused: false,
  ggufPermuted: false,
  tiedByDefault: false,
  keys: [],
};

/** Sets the window of each layer that `layer_types` calls sliding, or for which `sliding(layer)` holds if it is absent. */
export function applyWindows(config: ConfigReader, spec: DecoderSpec, sliding: (layer: number) => boolean): void {
  const types = config.array("layer_types", spec.layers.length); // other types are refused with the config
  const window = config.has("sliding_window") ? config.integer("sliding_window", 2 ** 24) : 0;
  spec.layers.forEach((layer, i) => {
    const type = types?.[i];
    const slides = type === undefined ? sliding(i) : type === "sliding_attention";
    layer.window = slides ? window : 0;
  });
}
