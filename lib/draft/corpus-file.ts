// A text file that drafts are copied from: token ids of each model, made once and kept.

import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { OutriderError } from "../errors.ts";
import { Corpus } from "./corpus.ts";
import type { DraftContext } from "./drafter.ts";
import { Keep, type Learnt } from "./keep.ts";

/** Characters that are encoded at a time: some milliseconds of work. */
const slice = 2 ** 14;

/** Of a corpus file: about a hundred million tokens, whose index takes some ten gigabytes. */
const mostBytes = 2 ** 28;

/** A text in tokens of one model. */
class CorpusTokens implements Learnt {
  tokens: Int32Array = new Int32Array();
  readonly #vocab: number;
  #index: Corpus | undefined;

  constructor(vocab: number) {
    this.#vocab = vocab;
  }

  /** What is copied from; it is indexed once for all texts. */
  get index(): Corpus {
    this.#index ??= new Corpus(this.tokens);
    return this.#index;
  }

  toInts(): Int32Array {
    return this.tokens;
  }

  fromInts(ints: Int32Array): boolean {
    if (ints.some((id) => id < 0 || id >= this.#vocab)) return false;
    this.tokens = ints;
    return true;
  }
}

/** Encodes a text piece by piece, cut behind ends of lines, without holding up the event loop. */
async function encode(text: string, context: DraftContext): Promise<Int32Array> {
  const pieces: Int32Array[] = [];
  for (let at = 0; at < text.length; ) {
    const line = text.indexOf("\n", at + slice);
    const end = line < 0 || line > at + 2 * slice ? Math.min(text.length, at + 2 * slice) : line + 1;
    pieces.push(context.encode(text.slice(at, end)));
    at = end;
    await setImmediate();
  }
  const all = new Int32Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** A UTF-8 text file as a corpus for any number of models. */
export class CorpusFile {
  readonly #path: string;
  readonly #folder: string | undefined;
  readonly #known = new WeakMap<DraftContext, Promise<CorpusTokens>>();
  readonly #ready = new WeakMap<DraftContext, CorpusTokens>();

  /** @param folder where its token ids are kept for the next process; undefined: nowhere */
  constructor(path: string, folder: string | undefined) {
    this.#path = path;
    this.#folder = folder;
  }

  /** @throws {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_IO, OUTRIDER_UNSUPPORTED for what is too large or no file */
  async read(context: DraftContext): Promise<void> {
    const reading = this.#known.get(context) ?? this.#read(context);
    this.#known.set(context, reading);
    try {
      this.#ready.set(context, await reading);
    } catch (error) {
      this.#known.delete(context); // it may be there the next time
      throw error;
    }
  }

  async #read(context: DraftContext): Promise<CorpusTokens> {
    const bytes = await this.#bytes();
    const digest = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    const keep = new Keep(this.#folder, `corpus-${digest}`, ({ vocab }) => new CorpusTokens(vocab));
    await keep.read(context);
    const found = keep.of(context);
    if (found.tokens.length > 0) return found;
    found.tokens = await encode(bytes.toString("utf8"), context);
    keep.changed(context);
    await keep.trySave();
    return found;
  }

  async #bytes(): Promise<Buffer> {
    let about: Stats;
    try {
      about = await stat(this.#path);
      if (about.isFile() && about.size <= mostBytes) return await readFile(this.#path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const kind = code === "ENOENT" ? "OUTRIDER_NOT_FOUND" : "OUTRIDER_IO";
      throw new OutriderError(kind, `Cannot read the corpus ${this.#path}: ${message}`, { cause: error });
    }
    const received = about.isFile() ? `${about.size} bytes` : "no file";
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected a regular file of at most ${mostBytes} bytes for the corpus ${this.#path}, received ${received}`,
    );
  }

  /** What was read for a model. */
  of(context: DraftContext): Corpus {
    return (this.#ready.get(context) as CorpusTokens).index;
  }
}
