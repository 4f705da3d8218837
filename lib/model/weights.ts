// The weight map: which stored tensor, or which rows of one, serves as which matrix of the decoder.

import { describe, OutriderError } from "../errors.ts";
import type {
  DecoderSpec,
  DenseFormat,
  GgufBlockFormat,
  LayerWeights,
  MatrixSource,
  ModelWeights,
  Span,
  VectorSource,
} from "../native.ts";
import type { TensorEntry, TensorTable } from "../tensor/entry.ts";
import { type AffineConfig, affineConfig } from "./affine-config.ts";
import type { ModelConfig } from "./config.ts";
import { refuseUnused } from "./unused.ts";

/** Everything the addon needs to load a model. */
export interface WeightMap {
  /** Paths that the spans of `weights` index. */
  files: string[];
  weights: ModelWeights;
  /** Stored bytes by format, embedding and head included. */
  bytesByFormat: Record<string, number>;
  parameters: number;
}

/** Names of the modules of layer `l`, without the suffix `.weight`. */
export interface Names {
  embedding: string;
  head: string;
  finalNorm: string;
  layer(l: number): Record<LayerModule, string>;
}
export type LayerModule =
  | "q"
  | "k"
  | "v"
  | "qkv"
  | "o"
  | "gate"
  | "up"
  | "gateUp"
  | "down"
  | "attentionNorm"
  | "attentionPostNorm"
  | "mlpNorm"
  | "mlpPostNorm"
  | "qNorm"
  | "kNorm";

/** Module names of a Hugging Face folder. */
export function folderNames(norms: "pre" | "post" | "sandwich", prefix: string): Names {
  return {
    embedding: `${prefix}embed_tokens`,
    head: prefix.startsWith("language_model.") ? "language_model.lm_head" : "lm_head",
    finalNorm: `${prefix}norm`,
    layer: (l) => {
      const at = `${prefix}layers.${l}.`;
      return {
        q: `${at}self_attn.q_proj`,
        k: `${at}self_attn.k_proj`,
        v: `${at}self_attn.v_proj`,
        qkv: `${at}self_attn.qkv_proj`,
        o: `${at}self_attn.o_proj`,
        gate: `${at}mlp.gate_proj`,
        up: `${at}mlp.up_proj`,
        gateUp: `${at}mlp.gate_up_proj`,
        down: `${at}mlp.down_proj`,
        qNorm: `${at}self_attn.q_norm`,
        kNorm: `${at}self_attn.k_norm`,
        attentionNorm: `${at}input_layernorm`,
        attentionPostNorm: `${at}post_attention_layernorm`,
        // Llama calls the norm before the MLP "post attention".
        mlpNorm: norms === "pre" ? `${at}post_attention_layernorm` : `${at}pre_feedforward_layernorm`,
        mlpPostNorm: `${at}post_feedforward_layernorm`,
      };
    },
  };
}

const ggufNames: Names = {
  embedding: "token_embd",
  head: "output",
  finalNorm: "output_norm",
  layer: (l) => {
    const at = `blk.${l}.`;
    return {
      q: `${at}attn_q`,
      k: `${at}attn_k`,
      v: `${at}attn_v`,
      qkv: `${at}attn_qkv`,
      o: `${at}attn_output`,
      gate: `${at}ffn_gate`,
      up: `${at}ffn_up`,
      gateUp: `${at}ffn_up`,
      down: `${at}ffn_down`,
      qNorm: `${at}attn_q_norm`,
      kNorm: `${at}attn_k_norm`,
      attentionNorm: `${at}attn_norm`,
      attentionPostNorm: `${at}post_attention_norm`,
      mlpNorm: `${at}ffn_norm`,
      mlpPostNorm: `${at}post_ffw_norm`,
    };
  },
};

const denseFormats = ["f32", "f16", "bf16"];
const blockFormats = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"];

/** A run of rows of a stored matrix. */
interface Rows {
  start: number;
  stored: number;
}

class Mapper {
  readonly files: string[] = [];
  readonly missing: string[] = [];
  readonly bytesByFormat: Record<string, number> = {};
  readonly #tensors: TensorTable;
  readonly #affine: AffineConfig | undefined;
  readonly #normOffset: number;
  readonly used = new Set<string>();

  constructor(tensors: TensorTable, affine: AffineConfig | undefined, normOffset: number) {
    this.#tensors = tensors;
    this.#affine = affine;
    this.#normOffset = normOffset;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  #span(entry: TensorEntry): Span {
    let file = this.files.indexOf(entry.file);
    if (file < 0) file = this.files.push(entry.file) - 1;
    return { file, offset: entry.offset, byteLength: entry.byteLength };
  }

  #take(name: string, shape: number[], formats: string[]): TensorEntry | undefined {
    const entry = this.#tensors.get(name);
    if (!entry) {
      this.missing.push(name);
      return undefined;
    }
    if (entry.shape.length !== shape.length || entry.shape.some((dimension, i) => dimension !== shape[i])) {
      throw new OutriderError(
        "OUTRIDER_FORMAT",
        `Expected shape [${shape.join(", ")}] for ${describe(name)}, received [${entry.shape.join(", ")}]`,
      );
    }
    if (!formats.includes(entry.format)) {
      throw new OutriderError(
        "OUTRIDER_UNSUPPORTED",
        `Expected ${formats.join(", ")} for ${describe(name)}, received ${entry.format}`,
      );
    }
    if (!this.used.has(name))
      this.bytesByFormat[entry.format] = (this.bytesByFormat[entry.format] ?? 0) + entry.byteLength;
    this.used.add(name);
    return entry;
  }

  matrix(
    module: string,
    rows: number,
    cols: number,
    run: Rows = { start: 0, stored: rows },
    permutedHeads = 0,
  ): MatrixSource {
    const common = { rows, cols, rowStart: run.start, storedRows: run.stored, permutedHeads };
    const nowhere = { ...common, format: "f32" as const, data: { file: 0, offset: 0, byteLength: 0 } };
    if (this.#tensors.has(`${module}.codes`)) {
      const { bits, group } = this.#affine?.of(module) ?? { bits: 0, group: 0 };
      if (bits === 0)
        throw new OutriderError(
          "OUTRIDER_FORMAT",
          `Expected quantization_config in config.json, as ${describe(`${module}.codes`)} is quantised`,
        );
      const groups = Math.ceil(cols / group);
      const codes = this.#take(`${module}.codes`, [run.stored, Math.ceil((cols * bits) / 8)], ["u8"]);
      const scale = this.#take(`${module}.scale`, [run.stored, groups], ["f16", "f32"]);
      const zero = this.#take(`${module}.zero`, [run.stored, groups], [scale?.format ?? "f16"]);
      if (!codes || !scale || !zero) return nowhere;
      const scaleFormat = scale.format as "f16" | "f32";
      return {
        ...common,
        format: "affine",
        bits,
        group,
        scaleFormat,
        data: this.#span(codes),
        scale: this.#span(scale),
        zero: this.#span(zero),
      };
    }
    const entry = this.#take(`${module}.weight`, [run.stored, cols], [...denseFormats, ...blockFormats]);
    if (!entry) return nowhere;
    return { ...common, format: entry.format as DenseFormat | GgufBlockFormat, data: this.#span(entry) };
  }

  /** The output head of a model that does not use its embedding for it. */
  head(module: string, rows: number, cols: number): MatrixSource | undefined {
    if (this.has(`${module}.weight`) || this.has(`${module}.codes`)) return this.matrix(module, rows, cols);
    this.missing.push(`${module}.weight (because tie_word_embeddings is false)`);
    return undefined;
  }

  vector(
    name: string,
    length: number,
    run: Rows = { start: 0, stored: length },
    permutedHeads = 0,
    add = 0,
  ): VectorSource | undefined {
    const entry = this.#take(name, [run.stored], denseFormats);
    if (!entry) return undefined;
    return {
      format: entry.format as DenseFormat,
      length,
      start: run.start,
      storedLength: run.stored,
      permutedHeads,
      add,
      data: this.#span(entry),
    };
  }

  /** A bias exists where the file has one; it must where a key of the config says so. */
  bias(
    module: string,
    length: number,
    key: string | undefined,
    run?: Rows,
    permutedHeads?: number,
  ): VectorSource | undefined {
    const name = `${module}.bias`;
    if (this.has(name)) return this.vector(name, length, run, permutedHeads);
    if (key) this.missing.push(`${name} (because of ${key})`);
    return undefined;
  }

  norm(module: string, length: number): VectorSource | undefined {
    return this.vector(`${module}.weight`, length, undefined, 0, this.#normOffset);
  }
}

function mapLayer(
  map: Mapper,
  { spec, family, attentionBias, mlpBias }: ModelConfig,
  names: Record<LayerModule, string>,
  permuted: boolean,
): LayerWeights {
  const { hidden, ffn, heads, kvHeads, headDim } = spec;
  const q = heads * headDim;
  const kv = kvHeads * headDim;
  const part = (
    fusedName: string,
    ownName: string,
    start: number,
    rows: number,
    stored: number,
    permutedHeads: number,
    biasKey: string | undefined,
  ) => {
    const module = family.fused ? fusedName : ownName;
    const run = family.fused ? { start, stored } : undefined;
    return {
      weight: map.matrix(module, rows, hidden, run, permutedHeads),
      bias: map.bias(module, rows, biasKey, run, permutedHeads),
    };
  };
  const query = part(names.qkv, names.q, 0, q, q + 2 * kv, permuted ? heads : 0, attentionBias);
  const key = part(names.qkv, names.k, q, kv, q + 2 * kv, permuted ? kvHeads : 0, attentionBias);
  const value = part(names.qkv, names.v, q + kv, kv, q + 2 * kv, 0, attentionBias);
  const gate = part(names.gateUp, names.gate, 0, ffn, 2 * ffn, 0, mlpBias);
  const up = part(names.gateUp, names.up, ffn, ffn, 2 * ffn, 0, mlpBias);
  const before = family.norms !== "post";
  const after = family.norms !== "pre";
  const qkNorm = spec.qkNorm !== "none";
  const full = spec.qkNorm === "full";
  return {
    q: query.weight,
    k: key.weight,
    v: value.weight,
    o: map.matrix(names.o, hidden, q),
    gate: gate.weight,
    up: up.weight,
    down: map.matrix(names.down, hidden, ffn),
    qBias: query.bias,
    kBias: key.bias,
    vBias: value.bias,
    oBias: map.bias(names.o, hidden, family.name === "qwen2" ? undefined : attentionBias), // which never has one
    gateBias: gate.bias,
    upBias: up.bias,
    downBias: map.bias(names.down, hidden, mlpBias),
    attentionNorm: before ? map.norm(names.attentionNorm, hidden) : undefined,
    attentionPostNorm: after ? map.norm(names.attentionPostNorm, hidden) : undefined,
    mlpNorm: before ? map.norm(names.mlpNorm, hidden) : undefined,
    mlpPostNorm: after ? map.norm(names.mlpPostNorm, hidden) : undefined,
    qNorm: qkNorm ? map.norm(names.qNorm, full ? q : headDim) : undefined,
    kNorm: qkNorm ? map.norm(names.kNorm, full ? kv : headDim) : undefined,
  };
}

function countParameters(spec: DecoderSpec, tied: boolean): number {
  const { hidden, ffn, vocab, heads, kvHeads, headDim } = spec;
  const layer = 2 * hidden * heads * headDim + 2 * hidden * kvHeads * headDim + 3 * hidden * ffn + 2 * hidden;
  return layer * spec.layers.length + (tied ? 1 : 2) * vocab * hidden + hidden;
}

/**
 * Maps the tensors of a model to the decoder's weights and checks every shape and format.
 * @param config the whole config.json of a folder, for its quantization_config; nothing for GGUF
 * @throws {OutriderError} OUTRIDER_FORMAT listing missing tensors or naming one of the wrong shape, OUTRIDER_UNSUPPORTED naming
 *   those that the decoder would not read.
 */
export function mapWeights(
  model: ModelConfig,
  tensors: TensorTable,
  kind: "folder" | "gguf",
  config: Record<string, unknown> = {},
): WeightMap {
  const { spec, family } = model;
  const prefix = ["model.", "model.language_model.", "language_model.model."].find(
    (candidate) => tensors.has(`${candidate}embed_tokens.weight`) || tensors.has(`${candidate}embed_tokens.codes`),
  );
  const names = kind === "gguf" ? ggufNames : folderNames(family.norms, prefix ?? "model.");
  const map = new Mapper(tensors, affineConfig(config), kind === "gguf" ? 0 : family.normOffset);
  const weights: ModelWeights = {
    embedding: map.matrix(names.embedding, spec.vocab, spec.hidden),
    head: model.tied ? undefined : map.head(names.head, spec.vocab, spec.hidden),
    finalNorm: map.norm(names.finalNorm, spec.hidden) as VectorSource,
    layers: spec.layers.map((_, l) => mapLayer(map, model, names.layer(l), kind === "gguf" && family.ggufPermuted)),
  };
  if (map.missing.length > 0) {
    const some = map.missing.slice(0, 5).join(", ");
    const more = map.missing.length > 5 ? ` and ${map.missing.length - 5} more` : "";
    throw new OutriderError(
      "OUTRIDER_FORMAT",
      `Expected the tensors of a ${family.name} model of this config, missing ${some}${more}`,
    );
  }
  refuseUnused(tensors, map.used, family.name, model.tied ? [names.head] : []);
  return { files: map.files, weights, bytesByFormat: map.bytesByFormat, parameters: countParameters(spec, model.tied) };
}
