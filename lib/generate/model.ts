/// <reference lib="esnext.disposable" preserve="true" />
// What load() returns.

import { badArgument } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { checkIds, checkOptions, checkSignal, type TokenIds } from "./arguments.ts";
import { Chat, type ChatOptions } from "./chat.ts";
import { type Generation, GenerationRun, type Piece } from "./generation.ts";
import { type Measurement, type MeasureOptions, measure } from "./measure.ts";
import { type GenerateOptions, resolveOptions } from "./options.ts";
import { keepParts, type ModelInfo, type ModelParts } from "./parts.ts";
import { type Perplexity, type PerplexityOptions, scoreLogits, scorePerplexity } from "./score.ts";
import { resolveSuperposed, type Superposed, type SuperposedOptions, superpose } from "./superposed.ts";
import { type TextStream, textStream } from "./text-stream.ts";

const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

const idsAre = "an array or typed array of token ids";

/** Text or token ids. */
export type Prompt = string | TokenIds;

/** A loaded model. Calls may overlap: they take turns on the engine, token by token. */
export class Model {
  readonly #parts: ModelParts;

  constructor(parts: ModelParts) {
    this.#parts = parts;
    keepParts(this, parts);
    Object.freeze(parts.info.bytesByFormat);
    Object.freeze(parts.info);
  }

  /** Family, sizes, bytes by format, context length and file. Frozen. */
  get info(): Readonly<ModelInfo> {
    return this.#parts.info;
  }

  /**
   * Text to token ids, without BOS or EOS.
   * @param options.special recognise special tokens written in the text. @default true
   */
  tokenize(text: string, options: { special?: boolean } = {}): Int32Array {
    if (typeof text !== "string") throw badArgument("text", "a string", text);
    checkOptions(options, ["special"]);
    if (options.special !== undefined && typeof options.special !== "boolean")
      throw badArgument("special", "true or false", options.special);
    return this.#parts.tokenizer.encode(text, { special: options.special });
  }

  /** Token ids to text, special tokens included. */
  detokenize(ids: TokenIds): string {
    const { runtime, tokenizer } = this.#parts;
    return tokenizer.decode(checkIds("ids", idsAre, ids, runtime.spec.vocab));
  }

  #promptIds(prompt: Prompt): Int32Array {
    const { runtime, tokenizer } = this.#parts;
    if (typeof prompt === "string") return tokenizer.encode(prompt, { frame: true });
    return checkIds(
      "prompt",
      "a string, array or typed array of token ids",
      prompt,
      runtime.spec.vocab,
      runtime.options.contextLength,
    );
  }

  /**
   * Logits after each token (teacher forcing), `[T, V]`; `tensor.data` is the Float32Array.
   * @throws {OutriderError} OUTRIDER_CONTEXT if the tokens do not fit.
   */
  async logits(ids: TokenIds, options: { signal?: AbortSignal } = {}): Promise<Tensor<"f32", 2>> {
    const { runtime } = this.#parts;
    checkOptions(options, ["signal"]);
    checkSignal(options.signal);
    const list = checkIds("ids", idsAre, ids, runtime.spec.vocab, runtime.options.contextLength);
    return scoreLogits(runtime, list, options.signal);
  }

  /** Perplexity of a text over non-overlapping windows, tokenised once and without BOS. */
  async perplexity(text: string, options: PerplexityOptions = {}): Promise<Perplexity> {
    return scorePerplexity(this.#parts.runtime, this.tokenize(text), options);
  }

  async #run<T>(prompt: Prompt, options: GenerateOptions, use: (run: GenerationRun) => Promise<T>): Promise<T> {
    const { runtime, defaults } = this.#parts;
    const resolved = resolveOptions(options, defaults, runtime.spec.vocab);
    const ids = this.#promptIds(prompt);
    resolved.signal?.throwIfAborted();
    const cache = runtime.newCache();
    try {
      return await use(new GenerationRun(this.#parts, cache, ids, 0, resolved));
    } finally {
      cache.dispose();
    }
  }

  /**
   * Continues a prompt.
   * @throws the signal's reason when aborted; {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_CONTEXT, OUTRIDER_DISPOSED.
   * @example const { text } = await model.generate("Once upon a time", { maxTokens: 64, temperature: 0.8, seed: 7 });
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Promise<Generation> {
    return this.#run(prompt, options, (run) => run.all());
  }

  /**
   * Continues a prompt, piece by piece. The next tokens, one or a few, are computed when the consumer asks for more; leaving the loop ends the
   * generation and frees its cache. `result` of the stream has the whole text and its statistics behind the last piece.
   * @example for await (const piece of model.stream("Once upon a time", { signal })) process.stdout.write(piece.text);
   */
  stream(prompt: Prompt, options: GenerateOptions = {}): TextStream {
    return textStream((finish) => this.#stream(prompt, options, finish));
  }

  async *#stream(
    prompt: Prompt,
    options: GenerateOptions,
    finish: (result: Generation) => void,
  ): AsyncGenerator<Piece, void, undefined> {
    const { runtime, defaults } = this.#parts;
    const resolved = resolveOptions(options, defaults, runtime.spec.vocab);
    const ids = this.#promptIds(prompt);
    const cache = runtime.newCache();
    try {
      const run = new GenerationRun(this.#parts, cache, ids, 0, resolved);
      yield* run.stream();
      finish(run.result);
    } finally {
      cache.dispose();
    }
  }

  /**
   * Several continuations of a prompt at the price of one: all hypotheses share one row a token, the mix of their last tokens' embeddings by
   * their probabilities, and what follows it goes for all of them (superposed decoding, arXiv:2405.18400). For lists of suggestions that somebody
   * chooses from: this is an approximation, the texts are not the model's own, and tokens that fit one hypothesis may come up in another.
   * n-gram counts of `corpus` and prompt tell them apart: a token x adds to the score of hypothesis h
   *
   *     (1 - alpha) log p(x) + alpha log q(x | end of h)
   *
   * where p is the law of the likeliest tokens and q the counts' law on top of it (Witten-Bell smoothing of orders 2 to 6). Where no run that h
   * ends with is known, q is p and alpha has no say; a token that never followed a known run of h pays for it, the more the better the run is
   * known (the paper takes off a constant). The `n` best are kept; of two ways to the same text one; one that ends keeps its place and leaves the
   * mix. With `n: 1` and `alpha: 0` the text is the greedy one.
   * @throws the signal's reason when aborted; {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_CONTEXT, OUTRIDER_DISPOSED.
   * @example const { continuations } = await model.superposed("The best way to", { n: 3, maxTokens: 8, corpus: notes });
   */
  async superposed(prompt: Prompt, options: SuperposedOptions = {}): Promise<Superposed> {
    const resolved = resolveSuperposed(options, this.#parts.runtime.spec.vocab);
    return superpose(this.#parts, this.#promptIds(prompt), resolved);
  }

  /**
   * Measures this model on this machine, which takes some seconds: prefill, decoding, the cost of verifying several rows at once,
   * and how near decoding comes to the limit that memory sets.
   * @throws the signal's reason when aborted; {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_DISPOSED.
   */
  measure(options: MeasureOptions = {}): Promise<Measurement> {
    return measure(this.#parts.runtime, options);
  }

  /** A conversation with a KV cache of its own. @throws {OutriderError} OUTRIDER_UNSUPPORTED if the model has no chat template. */
  chat(options: ChatOptions = {}): Chat {
    if (typeof options !== "object" || options === null) throw badArgument("options", "an object", options);
    return new Chat(this.#parts, options);
  }

  /** Ends running calls, which reject with OUTRIDER_DISPOSED, and frees the weights. Idempotent. */
  async dispose(): Promise<void> {
    await this.#parts.runtime.dispose();
    await this.#parts.experience.save();
  }

  [asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
