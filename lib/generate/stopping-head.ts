// The head that ends drafts, from its file: linear layers, and the shape of the draft model that they are for.

import { expected, OutriderError } from "../errors.ts";
import { parseJsonNames } from "../load/read-file.ts";
import { readFloats } from "../load/read-floats.ts";
import { readSafetensors, type Safetensors } from "../load/safetensors.ts";
import { type DecoderSpec, type NativeLinear, type NativeStoppingHead, native } from "../native.ts";

const metadataKey = "outrider.head";
const version = 1;
const mostBlocks = 16;
const mostNumber = 2 ** 24;

/** What the metadata of a head says: how many blocks it has, and what draft model it was trained for. */
interface HeadShape {
  blocks: number;
  hidden: number;
  layers: number;
  vocab: number;
}

function shapeOf(file: string, { metadata }: Safetensors): HeadShape {
  const text: unknown = Object.hasOwn(metadata, metadataKey) ? metadata[metadataKey] : undefined;
  if (typeof text !== "string") throw expected("OUTRIDER_FORMAT", file, `${metadataKey} in the metadata`, text);
  const about = parseJsonNames(text, `${metadataKey} of ${file}`);
  if (about.version !== version)
    throw expected("OUTRIDER_UNSUPPORTED", `version in ${metadataKey} of ${file}`, `${version}`, about.version);
  const count = (name: string, least: number, most: number): number => {
    const value = about[name];
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
      const what = `an integer from ${least} to ${most}`;
      throw expected("OUTRIDER_FORMAT", `${name} in ${metadataKey} of ${file}`, what, value);
    }
    return value;
  };
  return {
    blocks: count("blocks", 0, mostBlocks),
    hidden: count("hidden", 1, mostNumber),
    layers: count("layers", 1, mostNumber),
    vocab: count("vocab", 1, mostNumber),
  };
}

async function readTensor(
  file: string,
  { tensors }: Safetensors,
  name: string,
  shape: number[],
): Promise<Float32Array> {
  const entry = tensors.get(name);
  const what = `an f32, f16 or bf16 tensor [${shape}]`;
  const found = entry && `${entry.format} [${entry.shape}]`;
  const named = `${name} in ${file}`;
  if (!entry || entry.shape.length !== shape.length || shape.some((size, i) => entry.shape[i] !== size))
    throw expected("OUTRIDER_FORMAT", named, what, found);
  const { format } = entry;
  if (format !== "f32" && format !== "f16" && format !== "bf16") throw expected("OUTRIDER_FORMAT", named, what, found);
  const values = await readFloats(file, format, entry);
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw expected("OUTRIDER_FORMAT", named, "finite values", bad);
  return values;
}

/**
 * Reads a stopping head: a safetensors file with tensors `blocks.I.weight` `[hidden, hidden]` and `blocks.I.bias` `[hidden]`, `classes.weight`
 * `[2, hidden]` and `classes.bias` `[2]`, of which the second class is acceptance, and metadata `outrider.head`, JSON
 * `{ version: 1, hidden, blocks, layers, vocab }`. The draft model may be stored in another format than the head was trained on, but not have another shape.
 * @throws {OutriderError} OUTRIDER_FORMAT, OUTRIDER_NOT_FOUND or OUTRIDER_IO, naming file and tensor; OUTRIDER_UNSUPPORTED if it is for another shape
 */
export async function readStoppingHead(
  file: string,
  spec: Pick<DecoderSpec, "hidden" | "layers" | "vocab">,
): Promise<NativeStoppingHead> {
  const stored = await readSafetensors(file);
  const { blocks: count, hidden, layers, vocab } = shapeOf(file, stored);
  if (hidden !== spec.hidden || layers !== spec.layers.length || vocab !== spec.vocab) {
    const of = (size: number, depth: number, tokens: number) => `${size} hidden, ${depth} layers and ${tokens} tokens`;
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected a head for a draft model of ${of(spec.hidden, spec.layers.length, spec.vocab)}, received one for ${of(hidden, layers, vocab)}: ${file}`,
    );
  }
  const names = [...Array.from({ length: count }, (_, i) => `blocks.${i}`), "classes"];
  const known = new Set(names.flatMap((name) => [`${name}.weight`, `${name}.bias`]));
  for (const name of stored.tensors.keys())
    if (!known.has(name)) throw expected("OUTRIDER_FORMAT", file, `only tensors of ${count} blocks and classes`, name);
  const all = await Promise.all(
    names.map(async (name): Promise<NativeLinear> => {
      const rows = name === "classes" ? 2 : hidden;
      const weight = await readTensor(file, stored, `${name}.weight`, [rows, hidden]);
      return { weight, bias: await readTensor(file, stored, `${name}.bias`, [rows]) };
    }),
  );
  return new native.NativeStoppingHead({ hidden, blocks: all.slice(0, -1), classes: all[count] });
}
