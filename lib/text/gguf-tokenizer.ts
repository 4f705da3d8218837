// The tokenizer inside a GGUF file, as the tokenizer.json it was made from.

import { describe, expected, OutriderError } from "../errors.ts";
import { maxTokenLength, type TokenizerDescription } from "./description.ts";

type Metadata = ReadonlyMap<string, unknown>;

const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const llama3 = (digits: string) =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const cased = (suffix: string, digits: string, slash: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${suffix}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${suffix}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n${slash}]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** How text is cut before BPE, by the name in tokenizer.ggml.pre. `digits`: every digit alone first. */
const preTokenizers: Record<string, { pattern: string; digits?: boolean; ignoreMerges?: boolean }> = {
  default: { pattern: gpt2 },
  "gpt-2": { pattern: gpt2 },
  olmo: { pattern: gpt2 },
  smollm: { pattern: gpt2, digits: true },
  starcoder: { pattern: gpt2, digits: true },
  refact: { pattern: gpt2, digits: true },
  "command-r": { pattern: gpt2, digits: true },
  codeshell: { pattern: gpt2, digits: true },
  "llama-bpe": { pattern: llama3("\\p{N}{1,3}"), ignoreMerges: true },
  "llama-v3": { pattern: llama3("\\p{N}{1,3}"), ignoreMerges: true },
  llama3: { pattern: llama3("\\p{N}{1,3}"), ignoreMerges: true },
  "smaug-bpe": { pattern: llama3("\\p{N}{1,3}") },
  dbrx: { pattern: llama3("\\p{N}{1,3}") },
  qwen2: { pattern: llama3("\\p{N}") },
  "deepseek-r1-qwen": { pattern: llama3("\\p{N}") },
  tekken: { pattern: cased("", "\\p{N}", "/"), ignoreMerges: true },
  "gpt-4o": { pattern: cased(`${contractions}?`, "\\p{N}{1,3}", "/") },
};

const mergesPerToken = 8; // on average; real vocabularies have two or three
const controlToken = 3;
const userToken = 4;

function strings(metadata: Metadata, key: string): string[] {
  const value = metadata.get(key);
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string")) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected a list of strings for ${key}, received ${describe(value)}`);
  }
  return value;
}

function numbers(metadata: Metadata, key: string, length: number): ArrayLike<number> | undefined {
  const value = metadata.get(key);
  if (value === undefined) return undefined;
  if (!ArrayBuffer.isView(value) || (value as unknown as ArrayLike<number>).length !== length) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected ${length} numbers for ${key}, received ${describe(value)}`);
  }
  return value as unknown as ArrayLike<number>;
}

/** For every piece, by its id, the longest other piece that it begins with; -1 for none. Reads every character a few times only. */
function longestBeginnings(pieces: Map<string, number>, ids: number): Int32Array {
  const found = new Int32Array(ids).fill(-1);
  const open: string[] = []; // each begins with the one before it
  for (const piece of [...pieces.keys()].sort()) {
    while (open.length > 0 && !piece.startsWith(open[open.length - 1])) open.pop();
    if (open.length > 0) found[pieces.get(piece) as number] = pieces.get(open[open.length - 1]) as number;
    if (piece.length > 0) open.push(piece);
  }
  return found;
}

/**
 * Merges of a SentencePiece BPE model, which keeps only scores: every split of a piece into two pieces is a merge, and the piece
 * with the higher score is formed first.
 */
function mergesFromScores(tokens: string[], vocab: Map<string, number>, scores: ArrayLike<number>): [string, string][] {
  // Trying every cut of every piece takes the square of their lengths. Which pieces a piece begins and ends with takes one sorting
  // each; a split is one of either that together have its length. UTF-8 has no half characters, so UTF-16 units will do.
  const beginning = longestBeginnings(vocab, tokens.length);
  const mirrored = new Map([...vocab].map(([piece, id]) => [piece.split("").reverse().join(""), id]));
  const ending = longestBeginnings(mirrored, tokens.length);
  const most = mergesPerToken * tokens.length + 65536;
  const merges: { score: number; l: number; r: number }[] = [];
  tokens.forEach((token, id) => {
    const own = vocab.get(token) as number;
    const ends: number[] = []; // longest first
    for (let r = ending[own]; r >= 0; r = ending[r]) ends.push(r);
    for (let l = beginning[own]; l >= 0 && ends.length > 0; l = beginning[l]) {
      const rest = token.length - tokens[l].length;
      while (ends.length > 0 && tokens[ends[ends.length - 1]].length < rest) ends.pop();
      const r = ends[ends.length - 1];
      if (r !== undefined && tokens[r].length === rest) merges.push({ score: scores[id], l, r });
    }
    if (merges.length > most)
      throw expected("OUTRIDER_FORMAT", "tokenizer.ggml.tokens", `pieces with at most ${most} merges`, merges.length);
  });
  merges.sort((a, b) => b.score - a.score || a.l - b.l || a.r - b.r);
  return merges.map(({ l, r }) => [tokens[l], tokens[r]]);
}

function uniqueVocab(tokens: string[]): Map<string, number> {
  const vocab = new Map<string, number>();
  // Converters pad vocabularies with repeated names; the first id is the one that text can produce.
  tokens.forEach((token, id) => {
    if (!vocab.has(token)) vocab.set(token, id);
  });
  return vocab;
}

function bytePieces(metadata: Metadata, vocab: Map<string, number>): Partial<TokenizerDescription> {
  const name = metadata.get("tokenizer.ggml.pre") ?? "default";
  const pre = typeof name === "string" && Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (!pre) {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected tokenizer.ggml.pre ${Object.keys(preTokenizers).join(", ")}, received ${describe(name)}`,
    );
  }
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = { type: "Split", pattern: { Regex: pre.pattern }, behavior: "Isolated", invert: false };
  const digits = pre.digits ? [{ type: "Digits", individual_digits: true }] : [];
  // The library knows GPT-2's own pattern as part of ByteLevel.
  const cut = pre.pattern === gpt2 ? [{ ...byteLevel, use_regex: true }] : [split, { ...byteLevel, use_regex: false }];
  return {
    pre_tokenizer: { type: "Sequence", pretokenizers: [...digits, ...cut] },
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(vocab),
      merges: strings(metadata, "tokenizer.ggml.merges"),
      ignore_merges: pre.ignoreMerges === true,
      byte_fallback: false,
    },
  };
}

function sentencePieces(
  metadata: Metadata,
  tokens: string[],
  vocab: Map<string, number>,
): Partial<TokenizerDescription> {
  const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length);
  if (!scores) throw new OutriderError("OUTRIDER_FORMAT", "Expected tokenizer.ggml.scores beside SentencePiece tokens");
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  const replace = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const unknown = metadata.get("tokenizer.ggml.unknown_token_id");
  return {
    normalizer: {
      type: "Sequence",
      normalizers: [...(prefix ? [{ type: "Prepend", prepend: "\u2581" }] : []), replace],
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "\u2581" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(vocab),
      merges: mergesFromScores(tokens, vocab, scores),
      unk_token: typeof unknown === "number" ? tokens[unknown] : undefined,
      fuse_unk: true,
      byte_fallback: true,
    },
  };
}

/**
 * Rebuilds tokenizer.json from GGUF metadata: byte-level BPE ("gpt2") and SentencePiece BPE with byte fallback ("llama").
 * @throws {OutriderError} OUTRIDER_UNSUPPORTED naming another model or pre-tokenizer, OUTRIDER_FORMAT for damage.
 */
export function describeGgufTokenizer(metadata: Metadata): TokenizerDescription {
  const model = metadata.get("tokenizer.ggml.model");
  if (model !== "gpt2" && model !== "llama") {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected tokenizer.ggml.model gpt2 or llama, received ${describe(model)}`,
    );
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  const long = tokens.find((token) => token.length > maxTokenLength);
  if (long !== undefined) {
    const what = `tokens of at most ${maxTokenLength} characters`;
    throw expected("OUTRIDER_FORMAT", "tokenizer.ggml.tokens", what, long);
  }
  const types = numbers(metadata, "tokenizer.ggml.token_type", tokens.length);
  const vocab = uniqueVocab(tokens);
  const added = tokens.flatMap((content, id) => {
    const type = types?.[id];
    if (type !== controlToken && type !== userToken) return [];
    return [
      {
        id,
        content,
        special: type === controlToken,
        normalized: false,
        single_word: false,
        lstrip: false,
        rstrip: false,
      },
    ];
  });
  const frame = (key: string, idKey: string) => {
    const id = metadata.get(idKey);
    return metadata.get(key) === true && typeof id === "number" && id in tokens ? tokens[id] : undefined;
  };
  const bos = frame("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id");
  const eos = frame("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id");
  const special = (token: string | undefined) =>
    token === undefined ? [] : [{ SpecialToken: { id: token, type_id: 0 } }];
  const single = [...special(bos), { Sequence: { id: "A", type_id: 0 } }, ...special(eos)];
  const specialTokens = Object.fromEntries(
    [bos, eos]
      .filter((token) => token !== undefined)
      .map((token) => [token, { id: token, ids: [vocab.get(token)], tokens: [token] }]),
  );
  return {
    version: "1.0",
    normalizer: null,
    pre_tokenizer: null,
    post_processor:
      single.length > 1 ? { type: "TemplateProcessing", single, pair: single, special_tokens: specialTokens } : null,
    ...(model === "gpt2" ? bytePieces(metadata, vocab) : sentencePieces(metadata, tokens, vocab)),
    added_tokens: added,
  } as TokenizerDescription;
}
