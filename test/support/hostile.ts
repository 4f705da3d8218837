// Targets of hostile input. Each takes one mutation of a valid input through the code a user would reach: it either works or throws an
// OutriderError. Used by the tests, a fixed number of times, and by `npm run fuzz`, without end.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type GgufField, type GgufTensor, writeGguf } from "../../bench/shapes/gguf.mjs";
import { readStoppingHead } from "../../lib/generate/stopping-head.ts";
import { load, type Model } from "../../lib/index.ts";
import type { Runtime } from "../../lib/model/runtime.ts";
import { want } from "../../lib/native.ts";
import { Tokenizer } from "../../lib/text/tokenizer.ts";
import { draftTarget } from "./hostile-drafts.ts";
import { accepted, type Target } from "./hostile-target.ts";
import {
  microConfig,
  microGguf,
  microSentencePiece,
  microTensors,
  microTokenizer,
  safetensorsBytes,
  safetensorsHeader,
  writeMicroFolder,
} from "./micro-model.ts";
import { below, mutateBytes, mutateJson, pick, type Random } from "./mutate.ts";
import { openRuntime } from "./runtime.ts";
import { greedySampler } from "./sampler-options.ts";
import { headFile, headTensors, randomHead } from "./stopping-head.ts";

const temporary = () => mkdtempSync(path.join(tmpdir(), "outrider-hostile-"));
const remove = (folder: string) => rmSync(folder, { recursive: true, force: true });

async function loadAndUse(source: string): Promise<void> {
  const model = await load(source, { threads: 1 });
  try {
    await model.generate(Int32Array.of(2, 3, 4), { maxTokens: 2 });
    model.detokenize(model.tokenize("the band. é 12"));
  } finally {
    await model.dispose();
  }
}

/** Folders: bytes of the header, members of the header, config.json. */
export async function safetensorsTarget(): Promise<Target> {
  const folder = temporary();
  const tensors = microTensors();
  const header = safetensorsHeader(tensors);
  const whole = safetensorsBytes(JSON.stringify(header), tensors);
  const headerEnd = 8 + JSON.stringify(header).length;
  const once = (next: Random) => {
    const kind = below(next, 3);
    if (kind === 0) writeMicroFolder(folder, { weights: mutateBytes(whole, next, 0, headerEnd) });
    if (kind === 1) {
      writeMicroFolder(folder, { weights: safetensorsBytes(JSON.stringify(mutateJson(header, next)), tensors) });
    }
    if (kind === 2) writeMicroFolder(folder, { config: mutateJson(microConfig, next) });
    return accepted(() => loadAndUse(folder));
  };
  writeMicroFolder(folder);
  await loadAndUse(folder); // what is mutated is valid
  return { once, close: async () => remove(folder) };
}

const scalar = (value: unknown) => typeof value !== "object";
const listOf = (type: string) => (value: unknown) =>
  Array.isArray(value) && value.every((entry) => typeof entry === type);
/** What the GGUF writer takes for each type of field. */
const writableAs: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === "string",
  strings: listOf("string"),
  f32s: listOf("number"),
  i32s: listOf("number"),
  u32: scalar,
  i32: scalar,
  f32: scalar,
  bool: scalar,
};

function mutateFields(metadata: Record<string, GgufField>, next: Random): Record<string, GgufField> {
  const out = { ...metadata };
  const key = pick(next, Object.keys(out));
  const odd: GgufField[] = [
    { u32: 0 },
    { u32: 1 },
    { u32: 2 ** 31 },
    { u32: 2 ** 32 - 1 },
    { i32: -1 },
    { f32: Number.NaN },
    { f32: Number.POSITIVE_INFINITY },
    { f32: -1 },
    { bool: true },
    { string: "" },
    { string: "x".repeat(3000) },
    { strings: [] },
    { strings: ["", "", "a"] },
    { f32s: [] },
    { f32s: [1, Number.NaN] },
    { i32s: [-1, 2 ** 31 - 1] },
  ];
  const roll = next();
  if (roll < 0.2) delete out[key];
  else if (roll < 0.4) out[key] = out[pick(next, Object.keys(out))];
  else if (roll < 0.6) out[key] = mutateJson({ field: out[key] }, next).field;
  else out[key] = pick(next, odd);
  if (!(key in out)) return out;
  const field = out[key];
  // The writer needs a field of some type with a value of that type.
  const [[type, value] = [""], ...others] = typeof field === "object" && field !== null ? Object.entries(field) : [];
  const writable = others.length === 0 && Object.hasOwn(writableAs, type) && writableAs[type](value);
  return writable ? out : { ...metadata, [key]: pick(next, odd) };
}

function mutateTensor(tensors: readonly GgufTensor[], next: Random): GgufTensor[] {
  const out = [...tensors];
  const at = below(next, out.length);
  const tensor = out[at];
  const shape = [...tensor.shape];
  const roll = below(next, 6);
  if (roll === 0)
    shape[below(next, shape.length)] = pick(next, [0, 1, 31, 33, 2 ** 20, 2 ** 40, Number.MAX_SAFE_INTEGER]);
  if (roll === 1) shape.push(pick(next, [0, 1, 2, 2 ** 30]));
  if (roll === 2) shape.reverse();
  out[at] = { ...tensor, shape };
  if (roll === 3) out[at] = { ...tensor, type: below(next, 45) };
  if (roll === 4) out[at] = { ...tensor, name: pick(next, ["", "__proto__", out[0].name, "x".repeat(500)]) };
  if (roll === 5) out.splice(at, 1);
  return out;
}

/** GGUF files: header bytes, metadata fields, tensor table. */
export async function ggufTarget(): Promise<Target> {
  const folder = temporary();
  const file = path.join(folder, "model.gguf");
  const { metadata, tensors } = microGguf();
  const whole = writeGguf(metadata, tensors);
  const headerEnd = whole.length - tensors.reduce((sum, tensor) => sum + Math.ceil(tensor.data.length / 32) * 32, 0);
  const once = (next: Random) => {
    const kind = below(next, 3);
    if (kind === 0) writeFileSync(file, mutateBytes(whole, next, 0, headerEnd));
    if (kind === 1) writeFileSync(file, writeGguf(mutateFields(metadata, next), tensors));
    if (kind === 2) writeFileSync(file, writeGguf(metadata, mutateTensor(tensors, next)));
    return accepted(() => loadAndUse(file));
  };
  writeFileSync(file, whole);
  await loadAndUse(file);
  return { once, close: async () => remove(folder) };
}

const texts = [
  "",
  "the band",
  "  the\n\nthing",
  "é\u0301\ud83d\ude00 12345",
  "<s>the</s>",
  "\u0000\ufffd",
  "a".repeat(300),
];

/** tokenizer.json: its members, byte-level and SentencePiece-like. */
export async function tokenizerTarget(): Promise<Target> {
  const folder = temporary();
  const use = async () => {
    const tokenizer = await Tokenizer.fromFolder(folder);
    for (const text of texts) {
      const ids = tokenizer.encode(text, { frame: true });
      tokenizer.decode(ids);
      tokenizer.encode(text, { special: false });
    }
  };
  const once = (next: Random) => {
    const base: unknown = next() < 0.5 ? microTokenizer : microSentencePiece;
    const text = JSON.stringify(next() < 0.9 ? mutateJson(base, next) : base);
    const bytes = next() < 0.1 ? mutateBytes(Buffer.from(text), next) : Buffer.from(text);
    writeFileSync(path.join(folder, "tokenizer.json"), bytes);
    return accepted(use);
  };
  writeFileSync(path.join(folder, "tokenizer.json"), JSON.stringify(microTokenizer));
  await use();
  return { once, close: async () => remove(folder) };
}

// hash64 of native/base/hash.h, to sign mutated headers: damage behind a right checksum must be found too.
const mask = (1n << 64n) - 1n;
function hash64(bytes: Buffer, seed: bigint): bigint {
  let h = (seed ^ ((BigInt(bytes.length) * 0x9e3779b97f4a7c15n) & mask)) & mask;
  const step = (word: bigint) => {
    h = ((h ^ word) * 0xd6e8feb86659fd93n) & mask;
    h ^= h >> 32n;
  };
  let at = 0;
  for (; bytes.length - at >= 8; at += 8) step(bytes.readBigUInt64LE(at));
  const last = Buffer.alloc(8);
  bytes.copy(last, 0, at);
  step(last.readBigUInt64LE(0));
  step(h >> 29n);
  return h;
}

const kvHeaderBytes = 72;

/** KV and chat snapshots, the KV ones also with a header signed again after the change. */
export async function snapshotTarget(): Promise<Target> {
  const folder = temporary();
  writeMicroFolder(folder);
  const model: Model = await load(folder, { threads: 1 });
  const runtime: Runtime = await openRuntime(folder, { threads: 1 });
  const cache = runtime.newCache();
  const tokens = Int32Array.from({ length: 70 }, (_, i) => i % 40);
  await runtime.step({ caches: [cache], tokens, sequence: new Int32Array(70), wants: new Uint8Array(70) });
  const kv = Buffer.from(await cache.save());
  const chat = model.chat({ maxTokens: 3 });
  await chat.send("the band");
  const saved = Buffer.from(await chat.save());
  const other = model.chat({ maxTokens: 3 });

  const once = async (next: Random) => {
    if (next() < 0.5) {
      const image = mutateBytes(saved, next);
      const before = JSON.stringify(other.history);
      const took = await accepted(() => other.restore(image));
      if (!took && JSON.stringify(other.history) !== before) throw new Error("a refused snapshot changed the chat");
      return took;
    }
    const image = mutateBytes(kv, next, 0, next() < 0.5 ? kvHeaderBytes : kv.length);
    if (next() < 0.7 && image.length >= kvHeaderBytes) {
      image.writeUInt32LE(0x564b524f, 0);
      image.writeBigUInt64LE(hash64(image.subarray(0, kvHeaderBytes - 8), 0x564b524fn), kvHeaderBytes - 8);
    }
    const restored = runtime.newCache();
    try {
      const took = await accepted(() => restored.restore(image));
      if (!took && restored.length !== 0) throw new Error("a refused snapshot changed the cache");
      return took;
    } finally {
      restored.dispose();
    }
  };
  if (!(await accepted(() => runtime.newCache().restore(kv)))) throw new Error("the snapshot is not valid");
  if (!(await accepted(() => other.restore(saved)))) throw new Error("the chat snapshot is not valid");
  const close = async () => {
    await model.dispose();
    await runtime.dispose();
    remove(folder);
  };
  return { once, close };
}

/** Trees and batches: arrays of wrong lengths, parents that are no tree, tokens out of range, paths that are none. */
export async function treeTarget(): Promise<Target> {
  const folder = temporary();
  writeMicroFolder(folder);
  const runtime = await openRuntime(folder, { threads: 1 });
  const { vocab, hidden } = runtime.spec;
  const cache = runtime.newCache();
  const first = Int32Array.from({ length: 60 }, (_, i) => i % vocab);
  await runtime.step({ caches: [cache], tokens: first, sequence: new Int32Array(60), wants: new Uint8Array(60) });
  const [four, parents] = [new Int32Array(4), Int32Array.of(-1, 0, 0, 2)];
  const tree = { tokens: four, sequence: four, parents, wants: new Uint8Array(4), scratch: true };
  const sampler = greedySampler(vocab, { temperature: 1, repetitionPenalty: 1.2 });
  const odd = [-1, -2, 0, 1, 5, vocab, 2 ** 31 - 1, -(2 ** 31)];

  const once = async (next: Random) => {
    const rows = below(next, 24);
    const spoil = <A extends Int32Array | Uint8Array>(values: A): A => {
      const out = values.slice() as A;
      if (next() < 0.1 && out.length > 0) out[below(next, out.length)] = pick(next, odd);
      return next() < 0.04 ? (out.slice(0, below(next, out.length + 1)) as A) : out;
    };
    const mixed = (): object => {
      const mix = spoil(Int32Array.from({ length: rows * (1 + below(next, 70)) }, () => below(next, vocab)));
      const mixWeights = Float32Array.from(mix, () => (next() < 0.001 ? Number.NaN : next()));
      return { tokens: next() < 0.9 ? undefined : mix, mix, mixWeights: mixWeights.subarray(next() < 0.1 ? 1 : 0) };
    };
    const fork = cache.fork();
    const length = fork.length;
    const batch = {
      caches: next() < 0.05 ? [] : [fork],
      tokens: next() < 0.05 ? undefined : spoil(Int32Array.from({ length: rows }, () => below(next, vocab))),
      embeddings: next() < 0.05 ? new Float32Array(below(next, 3) * hidden * rows) : undefined,
      ...(next() < 0.1 ? mixed() : {}),
      sequence: spoil(new Int32Array(rows)),
      parents: next() < 0.05 ? undefined : spoil(Int32Array.from({ length: rows }, (_, i) => below(next, i + 1) - 1)),
      wants: spoil(
        new Uint8Array(rows).fill(
          pick(next, [0, want.topk, want.hidden, want.logits, want.target, want.sample, want.draws]),
        ),
      ),
      targets: next() < 0.2 ? spoil(new Int32Array(rows)) : undefined,
      scratch: next() < 0.8,
      continues: next() < 0.2,
      samplers: next() < 0.5 ? [sampler] : undefined,
      topK: pick(next, [0, 1, 4, vocab, vocab + 1, -1]),
      drawsK: pick(next, [0, 1, 4, vocab, 65, -1]),
      layerBegin: next() < 0.1 ? pick(next, [-1, 1, 2]) : undefined,
      layerEnd: next() < 0.1 ? pick(next, [-1, 0, 2]) : undefined,
      skipMlp: next() < 0.1 ? new Uint8Array(below(next, 3)).fill(1) : undefined,
    };
    try {
      if (batch.continues && next() < 0.7) await runtime.step({ ...tree, caches: [fork] }); // something to go on from
      const took = await accepted(() => runtime.step(batch));
      if ((!took || batch.scratch) && fork.length !== length)
        throw new Error("a refused or scratch step moved the cache");
      const at = fork.length;
      const path = spoil(Int32Array.from({ length: below(next, 6) }, (_, i) => i));
      if (!(await accepted(async () => fork.commit(path))) && fork.length !== at)
        throw new Error("a refused commit moved the cache");
      return took;
    } finally {
      fork.dispose();
    }
  };
  const close = async () => {
    await runtime.dispose();
    remove(folder);
  };
  return { once, close };
}

/** Files of stopping heads: bytes, members of the header, and what the metadata says of the head. */
export async function headTarget(): Promise<Target> {
  const folder = temporary();
  const file = path.join(folder, "head.safetensors");
  const head = randomHead(8, 2, 1);
  const layers = [0, 1].map(() => ({ rope: 0, window: 0 }));
  const about = { version: 1, hidden: 8, blocks: 2, layers: layers.length, vocab: 64 };
  const whole = headFile(head, about);
  const header = JSON.parse(whole.toString("utf8", 8, 8 + Number(whole.readBigUInt64LE())));
  const states = new Float32Array(16).fill(0.5);
  const use = async () => {
    const read = await readStoppingHead(file, { hidden: 8, layers, vocab: 64 });
    for (const value of read.acceptance(states))
      if (value < 0 || value > 1) throw new Error(`an acceptance of ${value}`);
  };
  const once = (next: Random) => {
    const kind = below(next, 3);
    if (kind === 0) writeFileSync(file, mutateBytes(whole, next));
    if (kind === 1) writeFileSync(file, safetensorsBytes(JSON.stringify(mutateJson(header, next)), headTensors(head)));
    if (kind === 2) writeFileSync(file, headFile(head, mutateJson(about, next)));
    return accepted(use);
  };
  writeFileSync(file, whole);
  await use();
  return { once, close: async () => remove(folder) };
}

export const targets: Readonly<Record<string, () => Promise<Target>>> = {
  safetensors: safetensorsTarget,
  gguf: ggufTarget,
  tokenizer: tokenizerTarget,
  snapshots: snapshotTarget,
  trees: treeTarget,
  drafts: draftTarget,
  heads: headTarget,
};
