// quantization_config of affine folders: which bits and group each module has.

import { ConfigReader } from "./config-reader.ts";

/** Bits and group size of one module. */
export interface AffineShape {
  bits: 2 | 3 | 4 | 8;
  group: number;
}

/** Looks modules up in a quantization_config. */
export interface AffineConfig {
  of(module: string): AffineShape;
}

const methods = ["affine", "decoupleq"];

function readShape(config: ConfigReader, fallback?: AffineShape): AffineShape {
  const bits = config.integer("bits", 8, fallback?.bits);
  if (bits !== 2 && bits !== 3 && bits !== 4 && bits !== 8) throw config.unsupported("bits", "2, 3, 4 or 8");
  return { bits, group: config.integer("group_size", 2 ** 22, fallback?.group) };
}

/**
 * Reads `quantization_config`; undefined if the config has none.
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED for the format of another tool.
 */
export function affineConfig(config: Record<string, unknown>): AffineConfig | undefined {
  const quantization = new ConfigReader(config).object("quantization_config");
  if (!quantization) return undefined;
  if (!methods.includes(quantization.string("quant_method")))
    throw quantization.unsupported("quant_method", methods.join(" or "));
  const common = readShape(quantization);
  const modules = quantization.object("modules");
  return {
    of: (module) => {
      const own = modules?.object(module);
      return own ? readShape(own, common) : common;
    },
  };
}
