// The model that a drafter draws from: given, or loaded when a text first asks for it.

import type { DraftContext } from "../draft/drafter.ts";
import { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import { badArgument, OutriderError } from "../errors.ts";
import type { Model } from "./model.ts";
import { load } from "./open.ts";
import { type ModelParts, partsOf } from "./parts.ts";

/** A draft model with what its tokens are called in the models that it drafts for. */
export class DraftSource {
  readonly #source: string;
  #parts: ModelParts | undefined;
  #loading: Promise<Model> | undefined;
  readonly #unwanted = new AbortController();
  readonly #bridges = new WeakMap<DraftContext, VocabularyBridge>();

  /** @throws {OutriderError} OUTRIDER_ARGUMENT for what is neither a loaded model nor the name of one */
  constructor(source: Model | string) {
    this.#parts = typeof source === "object" && source !== null ? partsOf(source) : undefined;
    if (!this.#parts && (typeof source !== "string" || source === ""))
      throw badArgument("source", "a loaded model, a path or a hub id", source);
    this.#source = source as string;
  }

  /** What the model is made of; only after prepare(). */
  get parts(): ModelParts {
    return this.#parts as ModelParts;
  }

  /** Tells models apart; undefined before it is loaded. */
  get fingerprint(): string | undefined {
    return this.#parts?.draftContext.fingerprint;
  }

  #gone(): OutriderError {
    return new OutriderError("OUTRIDER_DISPOSED", "Expected a live draft model, received one that was disposed");
  }

  async #open(): Promise<ModelParts> {
    if (this.#unwanted.signal.aborted) throw this.#gone();
    if (!this.#parts) {
      this.#loading ??= load(this.#source, { signal: this.#unwanted.signal });
      const model = await this.#loading.catch((error: unknown) => {
        this.#loading = undefined; // what failed may be tried again
        throw error;
      });
      this.#parts = partsOf(model);
    }
    return this.parts;
  }

  /**
   * Loads the model, if that is still to be done, and compares its tokens with those of the model that it is to draft for.
   * @throws what loading throws; {OutriderError} OUTRIDER_DISPOSED, OUTRIDER_UNSUPPORTED if the models share less than half of their tokens
   */
  async prepare(context: DraftContext): Promise<void> {
    const { tokenizer } = await this.#open();
    if (this.#bridges.has(context)) return;
    const draft = { vocab: tokenizer.vocabSize, bytesOf: (id: number) => tokenizer.bytesOf(id) };
    const bridge = new VocabularyBridge(context, draft);
    bridge.check();
    this.#bridges.set(context, bridge);
  }

  /** Tokens of the model for which prepare() was called in those of the draft model, and back. */
  bridge(context: DraftContext): VocabularyBridge {
    return this.#bridges.get(context) as VocabularyBridge;
  }

  /** Frees the model if it was loaded from a source; one that was given stays the caller's. Idempotent. */
  async dispose(): Promise<void> {
    this.#unwanted.abort(this.#gone());
    const model = await this.#loading?.catch(() => undefined); // whoever asked for it hears of it
    await model?.dispose();
  }
}
