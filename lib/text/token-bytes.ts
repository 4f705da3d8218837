// What bytes a token stands for. Text is decoded from bytes, never from tokens: a character may be spread over several.

import type { TokenizerDescription } from "./description.ts";

/** The printable stand-ins of byte-level BPE (GPT-2): bytes that are printable stand for themselves, the rest follow at U+0100. */
function byteLevelAlphabet(): Map<string, number> {
  const alphabet = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return alphabet;
}

function mentions(value: unknown, type: string): boolean {
  if (typeof value !== "object" || value === null) return false;
  if ((value as { type?: unknown }).type === type) return true;
  return Object.values(value).some((member) => mentions(member, type));
}

/** Bytes of every token, worked out when they are asked for, and whether decoding drops one leading space. */
export class TokenBytes {
  readonly #tokens: string[] = [];
  readonly #bytes = new Map<number, Uint8Array>();
  readonly #byteLevel: Map<string, number> | undefined;
  readonly #encoder = new TextEncoder();
  /** SentencePiece puts a space before the first word; decoding takes it away again. */
  readonly stripsLeadingSpace: boolean;

  constructor(description: TokenizerDescription) {
    this.#byteLevel = mentions(description.decoder, "ByteLevel") ? byteLevelAlphabet() : undefined;
    this.stripsLeadingSpace = mentions(description.decoder, "Strip") || mentions(description.decoder, "Metaspace");
    const { vocab, type } = description.model;
    const entries: Iterable<[string, number]> =
      type === "Unigram"
        ? (vocab as [string, number][]).map(([token], id) => [token, id])
        : Object.entries(vocab as Record<string, number>);
    for (const [token, id] of entries) this.#tokens[id] = token;
    for (const { id, content } of description.added_tokens) {
      this.#tokens[id] = content;
      this.#bytes.set(id, this.#encoder.encode(content));
    }
  }

  #decode(token: string): Uint8Array {
    if (this.#byteLevel) {
      const bytes = Array.from(token, (character) => this.#byteLevel?.get(character));
      // A token outside the alphabet is not byte-level text: take it as it is.
      return bytes.includes(undefined) ? this.#encoder.encode(token) : Uint8Array.from(bytes as number[]);
    }
    const escaped = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (escaped) return Uint8Array.of(Number.parseInt(escaped[1], 16));
    return this.#encoder.encode(token.replaceAll("\u2581", " "));
  }

  /** Largest id + 1. */
  get count(): number {
    return this.#tokens.length;
  }

  /** Bytes of a token; none for an id that no token has. */
  of(id: number): Uint8Array {
    const known = this.#bytes.get(id);
    if (known) return known;
    const token = this.#tokens[id];
    if (token === undefined) return new Uint8Array(0);
    const bytes = this.#decode(token);
    this.#bytes.set(id, bytes);
    return bytes;
  }
}
