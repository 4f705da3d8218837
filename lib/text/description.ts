// tokenizer.json as plain data: checked before a library builds anything from it.

import { describe, OutriderError } from "../errors.ts";

/** The members of tokenizer.json that are read here; the rest is passed on as it is. */
export interface TokenizerDescription {
  model: { type: string; vocab: Record<string, number> | [string, number][]; merges?: unknown[] } & Record<
    string,
    unknown
  >;
  added_tokens: { id: number; content: string; special: boolean }[];
  decoder?: unknown;
  [key: string]: unknown;
}

const maxTokens = 2 ** 22;
/** Characters of a token at most, whatever file it comes from. */
export const maxTokenLength = 4096;

function bad(what: string, actual: unknown): OutriderError {
  return new OutriderError("OUTRIDER_FORMAT", `Expected ${what} in the tokenizer, received ${describe(actual)}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checkId(id: unknown, where: string): number {
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= maxTokens)
    throw bad(`token ids from 0 to ${maxTokens - 1} ${where}`, id);
  return id;
}

function checkVocab(model: Record<string, unknown>): number {
  const { vocab } = model;
  if (model.type === "Unigram") {
    if (!Array.isArray(vocab) || vocab.length === 0 || vocab.length > maxTokens) throw bad("a list of pieces", vocab);
    for (const piece of vocab) {
      if (!Array.isArray(piece) || typeof piece[0] !== "string" || typeof piece[1] !== "number")
        throw bad("pieces with scores", piece);
    }
    return vocab.length;
  }
  if (!isObject(vocab)) throw bad("a vocabulary", vocab);
  const entries = Object.entries(vocab);
  if (entries.length === 0 || entries.length > maxTokens) throw bad(`1 to ${maxTokens} tokens`, entries.length);
  const seen = new Set<number>();
  for (const [token, id] of entries) {
    if (token.length > maxTokenLength) throw bad(`tokens of at most ${maxTokenLength} characters`, token);
    seen.add(checkId(id, "in the vocabulary"));
  }
  if (seen.size !== entries.length)
    throw bad("a different id for each token", `${entries.length - seen.size} repeated`);
  return entries.length;
}

function checkMerges(model: Record<string, unknown>): void {
  const { merges } = model;
  if (!Array.isArray(merges) || merges.length > 4 * maxTokens) throw bad("a list of merges", merges);
  for (const merge of merges) {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    if (
      !Array.isArray(pair) ||
      pair.length !== 2 ||
      !pair.every((part) => typeof part === "string" && part.length > 0)
    ) {
      throw bad("merges of two tokens", merge);
    }
  }
}

/** Depth and string lengths of the small parts (normalizer, pre-tokenizer, ...), where patterns hide. */
function checkParts(value: unknown, depth = 0): void {
  if (depth > 12) throw bad("parts nested at most 12 deep", "more");
  if (typeof value === "string" && value.length > 1 << 20) throw bad("strings below 1 MiB", value);
  if (typeof value !== "object" || value === null) return;
  const entries = Object.entries(value);
  if (entries.length > 65536) throw bad("parts with at most 65536 members", entries.length);
  for (const [key, entry] of entries) {
    // The library only warns of a pattern it does not know, and then cuts nothing.
    const pattern = entry as { String?: unknown; Regex?: unknown } | null;
    if (key === "pattern" && typeof (pattern?.String ?? pattern?.Regex) !== "string")
      throw bad("patterns with String or Regex", entry);
    checkParts(entry, depth + 1);
  }
}

/**
 * Checks a parsed tokenizer.json.
 * @throws {OutriderError} OUTRIDER_FORMAT for damage, OUTRIDER_UNSUPPORTED for model types other than BPE and Unigram.
 */
export function checkDescription(value: Record<string, unknown>): TokenizerDescription {
  const { model } = value;
  if (!isObject(model)) throw bad("a model", model);
  const type = model.type ?? (Array.isArray(model.merges) ? "BPE" : undefined);
  if (type !== "BPE" && type !== "Unigram") {
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected a BPE or Unigram tokenizer, received ${describe(model.type)}`,
    );
  }
  const tokens = checkVocab({ ...model, type });
  if (type === "BPE") checkMerges(model);
  const added = value.added_tokens ?? [];
  if (!Array.isArray(added) || added.length > maxTokens) throw bad("a list of added tokens", added);
  for (const token of added) {
    if (
      !isObject(token) ||
      typeof token.content !== "string" ||
      token.content.length === 0 ||
      token.content.length > maxTokenLength
    ) {
      throw bad("added tokens with content", token);
    }
    const id = checkId(token.id, "of added tokens");
    // Gaps cost memory in every table by id; real tokenizers have few.
    if (id > 2 * (tokens + added.length) + 65536) throw bad("ids near the vocabulary's", id);
  }
  for (const part of ["normalizer", "pre_tokenizer", "post_processor", "decoder"]) checkParts(value[part]);
  return { ...value, model: { ...model, type }, added_tokens: added } as TokenizerDescription;
}
