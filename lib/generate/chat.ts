/// <reference lib="esnext.disposable" preserve="true" />
// Conversations: history, template and a KV cache that is reused from turn to turn.

import { createHash } from "node:crypto";
import type { KvCache } from "../cache/kv-cache.ts";
import { inPieces } from "../cache/pieces.ts";
import { commonPrefix } from "../draft/common-prefix.ts";
import { badArgument, expected, OutriderError } from "../errors.ts";
import { checkMessages, type Message } from "../text/chat-template.ts";
import { type Generation, GenerationRun, type Piece } from "./generation.ts";
import { type GenerateOptions, resolveOptions } from "./options.ts";
import type { ModelParts } from "./parts.ts";
import { type TextStream, textStream } from "./text-stream.ts";

/** Options of {@link Model.chat}; generation options become defaults of every turn. */
export interface ChatOptions extends Omit<GenerateOptions, "signal"> {
  /** System message at the start. */
  system?: string;
  /** Earlier messages. */
  history?: readonly Message[];
}

const magic = "ORCHAT01";
const digestBytes = 32;

/** History and tokens of a snapshot. The digest finds damage; this finds a snapshot made by something else. */
function readState(text: string, vocab: number): { history: Message[]; tokens: number[] } {
  let state: { history: Message[]; tokens: number[] };
  try {
    state = JSON.parse(text);
    checkMessages(state.history);
  } catch (error) {
    throw new OutriderError("OUTRIDER_SNAPSHOT", "Expected messages and tokens in the chat snapshot", { cause: error });
  }
  const { history, tokens } = state;
  if (!Array.isArray(tokens)) throw expected("OUTRIDER_SNAPSHOT", "tokens of the chat snapshot", "an array", tokens);
  const wrong = tokens.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocab);
  if (wrong >= 0)
    throw expected(
      "OUTRIDER_SNAPSHOT",
      `tokens[${wrong}] of the chat snapshot`,
      `a token id below ${vocab}`,
      tokens[wrong],
    );
  return { history, tokens };
}

const disposeSymbol: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");

/**
 * A conversation. One turn at a time: a second call while one runs rejects with OUTRIDER_BUSY.
 * @example const chat = model.chat({ system: "Be brief." }); const { text } = await chat.send("Hello");
 */
export class Chat {
  readonly #parts: ModelParts;
  readonly #defaults: Omit<GenerateOptions, "signal">;
  #history: Message[];
  #cache: KvCache;
  /** Tokens whose keys and values the cache holds. */
  #cached: number[] = [];
  #busy = false;
  #disposed = false;

  constructor(parts: ModelParts, { system, history = [], ...defaults }: ChatOptions, cache?: KvCache) {
    if (system !== undefined && typeof system !== "string") throw badArgument("system", "a string", system);
    checkMessages(history);
    if (!parts.template.exists) parts.template.render([]);
    resolveOptions(defaults, parts.defaults, parts.runtime.spec.vocab);
    this.#parts = parts;
    this.#defaults = defaults;
    this.#history = [
      ...(system === undefined ? [] : [{ role: "system", content: system }]),
      ...history.map((message) => ({ ...message })),
    ];
    this.#cache = cache ?? parts.runtime.newCache();
  }

  /** Messages so far, oldest first. A copy. */
  get history(): Message[] {
    return this.#history.map((message) => ({ ...message }));
  }

  /** Bytes of the KV cache; pages shared with forks count in each. */
  get kvBytes(): number {
    return this.#cache.bytes;
  }

  /** Sends a message and returns the whole answer. */
  async send(message: string, options: GenerateOptions = {}): Promise<Generation> {
    let result: Generation | undefined;
    const turn = this.#turn(
      message,
      options,
      (run) => run.pieces(),
      (whole) => {
        result = whole;
      },
    );
    for await (const _ of turn);
    return result as Generation;
  }

  /**
   * Sends a message and streams the answer. An answer that is broken off is kept in the history as far as it was received;
   * without any text the message is dropped as well. `result` of the stream has the whole answer and its statistics behind the last piece.
   */
  stream(message: string, options: GenerateOptions = {}): TextStream {
    return textStream((finish) => this.#turn(message, options, (run) => run.stream(), finish));
  }

  #claim(): void {
    if (this.#busy)
      throw new OutriderError("OUTRIDER_BUSY", "Expected one turn of a chat at a time, the last one is still running");
    this.#busy = true;
  }

  async *#turn(
    message: string,
    options: GenerateOptions,
    pieces: (run: GenerationRun) => AsyncGenerator<Piece, void, undefined>,
    finish: (result: Generation) => void,
  ): AsyncGenerator<Piece, void, undefined> {
    if (typeof message !== "string") throw badArgument("message", "a string", message);
    if (typeof options !== "object" || options === null) throw badArgument("options", "an object", options);
    const { runtime, tokenizer, template, defaults } = this.#parts;
    const resolved = resolveOptions({ ...this.#defaults, ...options }, defaults, runtime.spec.vocab);
    this.#claim();
    let text = "";
    const question = { role: "user", content: message };
    try {
      const prompt = tokenizer.encode(template.render([...this.#history, question]));
      const common = commonPrefix(this.#cached, prompt.subarray(0, -1)); // the last token is evaluated anew
      this.#cache.truncate(common);
      this.#cached.length = common;
      const run = new GenerationRun(this.#parts, this.#cache, prompt, common, resolved);
      try {
        for await (const piece of pieces(run)) {
          text += piece.text;
          yield piece;
        }
      } finally {
        this.#cached = [...prompt, ...run.tokens].slice(0, this.#cache.length);
      }
      this.#history.push(question, { role: "assistant", content: text });
      finish(run.result);
      text = "";
    } finally {
      if (text !== "") this.#history.push(question, { role: "assistant", content: text });
      this.#busy = false;
    }
  }

  /** A second conversation that goes on from here; both share the pages of what was said. */
  fork(): Chat {
    this.#claim();
    try {
      const copy = new Chat(this.#parts, { ...this.#defaults, history: this.#history }, this.#cache.fork());
      copy.#cached = [...this.#cached];
      return copy;
    } finally {
      this.#busy = false;
    }
  }

  /** History and KV cache as bytes: a checksummed header and the KV snapshot. */
  async save(): Promise<Uint8Array> {
    this.#claim();
    try {
      const kv = await this.#cache.save();
      const state = Buffer.from(JSON.stringify({ history: this.#history, tokens: this.#cached }));
      const head = Buffer.alloc(magic.length + 4);
      head.write(magic, "latin1");
      head.writeUInt32LE(state.length, magic.length);
      const digest = createHash("sha256").update(head).update(state).digest();
      const header = Buffer.concat([head, digest, state]);
      const image = new Uint8Array(header.length + kv.length);
      image.set(header);
      await inPieces("snapshot", kv, (piece, offset) => image.set(piece, header.length + offset));
      return image;
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Replaces history and KV cache by what save() returned.
   * @throws {OutriderError} OUTRIDER_SNAPSHOT for damage or another model's bytes; the chat is then as it was.
   */
  async restore(snapshot: Uint8Array): Promise<void> {
    if (!(snapshot instanceof Uint8Array)) throw badArgument("snapshot", "a Uint8Array", snapshot);
    const given = Buffer.from(snapshot.buffer, snapshot.byteOffset, snapshot.length);
    const bad = (what: string) => new OutriderError("OUTRIDER_SNAPSHOT", what);
    const start = magic.length + 4;
    if (given.length < start + digestBytes || given.toString("latin1", 0, magic.length) !== magic)
      throw bad("Expected a chat snapshot, received other data");
    const length = given.readUInt32LE(magic.length);
    if (length > given.length - start - digestBytes) throw bad("The chat snapshot is truncated");
    const bytes = Buffer.from(given.subarray(0, start + digestBytes + length)); // a copy: what is checked is what is used
    const state = bytes.subarray(start + digestBytes);
    const digest = createHash("sha256").update(bytes.subarray(0, start)).update(state).digest();
    if (!digest.equals(bytes.subarray(start, start + digestBytes)))
      throw bad("The header of the chat snapshot is damaged");
    const { runtime } = this.#parts;
    const { history, tokens } = readState(state.toString("utf8"), runtime.spec.vocab);
    const { contextLength } = runtime.options;
    if (tokens.length > contextLength)
      throw expected(
        "OUTRIDER_SNAPSHOT",
        "snapshot",
        `at most ${contextLength} tokens (the context length)`,
        tokens.length,
      );
    this.#checkLive();
    this.#claim();
    const fresh = runtime.newCache();
    try {
      await fresh.restore(given.subarray(bytes.length));
      this.#checkLive(); // dispose() may have been called meanwhile, and wins
      if (fresh.length !== tokens.length) throw bad("The chat snapshot's tokens and KV pages do not belong together");
      this.#cache.dispose();
      this.#cache = fresh;
      this.#cached = tokens;
      this.#history = history;
    } catch (error) {
      fresh.dispose();
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  #checkLive(): void {
    if (this.#disposed)
      throw new OutriderError("OUTRIDER_DISPOSED", "Expected a live chat, received one that was disposed");
  }

  /** Frees the KV cache; a restore() that is running rejects. */
  dispose(): void {
    this.#disposed = true;
    this.#cache.dispose();
  }

  [disposeSymbol](): void {
    this.dispose();
  }
}
