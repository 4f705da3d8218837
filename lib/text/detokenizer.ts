// Tokens to text as they arrive, never half a character.

import type { Tokenizer } from "./tokenizer.ts";

/** Length of the unfinished UTF-8 sequence at the end of `bytes` (0 to 3). */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue; // a continuation: look further back for its lead
    const length =
      byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 && byte < 0xf0 ? 3 : byte >= 0xc2 && byte < 0xe0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/**
 * Incremental decoder. The pieces put together equal `tokenizer.decode` of all ids.
 * @example const d = new Detokenizer(tokenizer); for (const id of ids) out.write(d.push(id)); out.write(d.flush());
 */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecial: boolean;
  #pending = new Uint8Array(0);
  #atStart: boolean;

  /**
   * @param options.skipSpecial leave special tokens out. @default true
   * @param options.continues the text goes on from earlier tokens, so a leading space is kept. @default false
   */
  constructor(
    tokenizer: Tokenizer,
    { skipSpecial = true, continues = false }: { skipSpecial?: boolean; continues?: boolean } = {},
  ) {
    this.#tokenizer = tokenizer;
    this.#skipSpecial = skipSpecial;
    this.#atStart = tokenizer.stripsLeadingSpace && !continues;
  }

  #emit(bytes: Uint8Array): string {
    let text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
    if (this.#atStart && text.length > 0) {
      this.#atStart = false;
      if (text.startsWith(" ")) text = text.slice(1);
    }
    return text;
  }

  /** Text that is complete with this token; "" while a character is unfinished. */
  push(id: number): string {
    if (this.#skipSpecial && this.#tokenizer.specialIds.has(id)) return "";
    const more = this.#tokenizer.bytesOf(id);
    const bytes = new Uint8Array(this.#pending.length + more.length);
    bytes.set(this.#pending);
    bytes.set(more, this.#pending.length);
    const keep = unfinished(bytes);
    this.#pending = bytes.slice(bytes.length - keep);
    return this.#emit(bytes.subarray(0, bytes.length - keep));
  }

  /** What is left: U+FFFD for an unfinished character. */
  flush(): string {
    const rest = this.#pending;
    this.#pending = new Uint8Array(0);
    return this.#emit(rest);
  }
}
