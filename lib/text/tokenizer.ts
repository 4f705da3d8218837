// Text to tokens and back.

import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { expected, OutriderError } from "../errors.ts";
import { checkDescription, type TokenizerDescription } from "./description.ts";
import { describeGgufTokenizer } from "./gguf-tokenizer.ts";
import { TokenBytes } from "./token-bytes.ts";

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Recognise special tokens written in the text; false takes them as plain characters. @default true */
  special?: boolean;
  /** Frame the text with BOS and EOS as the tokenizer says. @default false */
  frame?: boolean;
}

const maxFileBytes = 256 * 1024 * 1024;

// Tokens that end a turn, where a GGUF file does not say which do.
const endOfTurn = ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|end|>", "</s>"];

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  const info = await stat(file).catch(() => undefined);
  if (!info) return undefined;
  if (info.size > maxFileBytes) throw expected("OUTRIDER_FORMAT", file, `at most ${maxFileBytes} bytes`, info.size);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, "utf8"));
  } catch (error) {
    throw new OutriderError("OUTRIDER_FORMAT", `Expected JSON in ${file}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw expected("OUTRIDER_FORMAT", file, "a JSON object", value);
}

/** bos_token and the like: a string, or an object with content. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const content = (value as { content?: unknown } | undefined | null)?.content;
  return typeof content === "string" ? content : undefined;
}

/** The template called "default" where there are several. */
function templateText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const entry = value.find((candidate) => candidate?.name === "default") ?? value[0];
  return typeof entry?.template === "string" ? entry.template : undefined;
}

/** What the library threw over a description that passed the checks but makes no sense to it. */
function libraryError(what: string, error: unknown): OutriderError {
  const reason = String((error as Error).message).slice(0, 200);
  return new OutriderError("OUTRIDER_FORMAT", `${what}: ${reason}`, { cause: error });
}

/**
 * tokenizer.json and tokenizer_config.json as the metadata of a GGUF file describes them; `end_ids` of the latter are ids that end a
 * turn.
 * @throws {OutriderError} as {@link describeGgufTokenizer}.
 */
export function ggufTokenizerFiles(metadata: ReadonlyMap<string, unknown>): {
  description: TokenizerDescription;
  config: Record<string, unknown>;
} {
  const description = checkDescription(describeGgufTokenizer(metadata));
  const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
  const named = (key: string) => {
    const id = metadata.get(key);
    return typeof id === "number" ? tokens[id] : undefined;
  };
  const ends = description.added_tokens.filter((token) => endOfTurn.includes(token.content)).map((token) => token.id);
  const eot = metadata.get("tokenizer.ggml.eot_token_id");
  if (typeof eot === "number") ends.push(eot);
  return {
    description,
    config: {
      bos_token: named("tokenizer.ggml.bos_token_id"),
      eos_token: named("tokenizer.ggml.eos_token_id"),
      unk_token: named("tokenizer.ggml.unknown_token_id"),
      chat_template: metadata.get("tokenizer.chat_template"),
      end_ids: ends,
    },
  };
}

/** A model's tokenizer. Immutable; safe to share. */
export class Tokenizer {
  readonly #library: Library;
  #plain: Library | undefined;
  readonly #bytes: TokenBytes;
  /** Ids of special tokens. */
  readonly specialIds: ReadonlySet<number>;
  /** Ids that end a text or a turn, as far as the tokenizer's own files say. */
  readonly endIds: ReadonlySet<number>;
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  /** Jinja source, if the model has one. */
  readonly chatTemplate: string | undefined;

  constructor(description: TokenizerDescription, config: Record<string, unknown> = {}) {
    try {
      this.#library = new Library(description, config);
      this.#bytes = new TokenBytes(description);
    } catch (error) {
      throw libraryError("Cannot build the tokenizer", error);
    }
    this.specialIds = new Set(description.added_tokens.filter((token) => token.special).map((token) => token.id));
    this.bosToken = tokenText(config.bos_token);
    this.eosToken = tokenText(config.eos_token);
    this.chatTemplate = templateText(config.chat_template);
    const ends = Array.isArray(config.end_ids) ? (config.end_ids as number[]) : [];
    const eos = this.eosToken === undefined ? undefined : this.idOf(this.eosToken);
    this.endIds = new Set(eos === undefined ? ends : [eos, ...ends]);
  }

  /**
   * Reads tokenizer.json, tokenizer_config.json and chat_template.jinja of a model folder.
   * @throws {OutriderError} OUTRIDER_NOT_FOUND without tokenizer.json, OUTRIDER_FORMAT or OUTRIDER_UNSUPPORTED for its content.
   */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const value = await readJson(path.join(folder, "tokenizer.json"));
    if (!value) throw new OutriderError("OUTRIDER_NOT_FOUND", `Expected tokenizer.json in ${folder}`);
    const config = (await readJson(path.join(folder, "tokenizer_config.json"))) ?? {};
    const jinja = await readFile(path.join(folder, "chat_template.jinja"), "utf8").catch(() => undefined);
    return new Tokenizer(checkDescription(value), jinja === undefined ? config : { ...config, chat_template: jinja });
  }

  /**
   * Builds the tokenizer that the metadata of a GGUF file describes.
   * @throws {OutriderError} as {@link describeGgufTokenizer}.
   */
  static fromGguf(metadata: ReadonlyMap<string, unknown>): Tokenizer {
    const { description, config } = ggufTokenizerFiles(metadata);
    return new Tokenizer(description, config);
  }

  /** Largest token id + 1; a model's vocabulary may be padded beyond it. */
  get vocabSize(): number {
    return this.#bytes.count;
  }

  /** SentencePiece models put a space before the first word, which decoding drops. */
  get stripsLeadingSpace(): boolean {
    return this.#bytes.stripsLeadingSpace;
  }

  /** Text to token ids. @throws {OutriderError} OUTRIDER_FORMAT for a tokenizer.json whose damage shows only in use. */
  encode(text: string, { special = true, frame = false }: EncodeOptions = {}): Int32Array {
    const library = special ? this.#library : this.#withoutSpecial();
    try {
      return Int32Array.from(library.encode(text, { add_special_tokens: frame }).ids);
    } catch (error) {
      throw libraryError("Cannot encode text with this tokenizer", error);
    }
  }

  /** The same tokenizer without added tokens. Shares the vocabulary, so it costs next to nothing. */
  #withoutSpecial(): Library {
    if (!this.#plain) {
      const empty = {
        model: { type: "BPE", vocab: {}, merges: [] },
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
      };
      const plain = new Library(empty, {});
      plain.normalizer = this.#library.normalizer;
      plain.pre_tokenizer = this.#library.pre_tokenizer;
      plain.post_processor = this.#library.post_processor;
      plain.decoder = this.#library.decoder;
      plain.model = this.#library.model;
      this.#plain = plain;
    }
    return this.#plain;
  }

  /** Token ids to text. Bytes that are no UTF-8 become U+FFFD. @param skipSpecial leave special tokens out. @default false */
  decode(ids: ArrayLike<number>, { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const parts: Uint8Array[] = [];
    for (let i = 0; i < ids.length; i++) {
      if (!skipSpecial || !this.specialIds.has(ids[i])) parts.push(this.#bytes.of(ids[i]));
    }
    const text = Buffer.concat(parts).toString("utf8");
    return this.stripsLeadingSpace && text.startsWith(" ") ? text.slice(1) : text;
  }

  /** Bytes a token stands for. */
  bytesOf(id: number): Uint8Array {
    return this.#bytes.of(id);
  }

  idOf(token: string): number | undefined {
    return this.#library.token_to_id(token);
  }
}
