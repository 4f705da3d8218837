// Two vocabularies side by side: which tokens stand for the same bytes.

import { OutriderError } from "../errors.ts";

/** Ids and what they stand for. */
export interface Vocabulary {
  /** Ids are below it. */
  vocab: number;
  /** None for an id that no token has. */
  bytesOf(id: number): Uint8Array;
}

/** Share of the model's tokens that a draft model has to have. */
const leastShared = 0.5;

const none = -1;

const sameBytes = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Ids of a model's vocabulary in that of a draft model, and back. */
export class VocabularyBridge {
  /** Every id stands for the same token on both sides, as far as both have it. */
  readonly same: boolean;
  /** Tokens of the model that the draft model has too. */
  readonly shared: number;
  readonly #model: Vocabulary;
  #unknown: { count: number; ids: readonly number[] } | undefined;
  readonly #toDraft: Int32Array;
  readonly #toModel: Int32Array;

  constructor(model: Vocabulary, draft: Vocabulary) {
    this.#model = model;
    this.#toDraft = new Int32Array(model.vocab).fill(none);
    this.#toModel = new Int32Array(draft.vocab).fill(none);
    const both = Math.min(model.vocab, draft.vocab);
    let same = true;
    for (let id = 0; id < both && same; id++) same = sameBytes(model.bytesOf(id), draft.bytesOf(id));
    this.same = same;
    let shared = 0;
    const join = (id: number, other: number) => {
      this.#toDraft[id] = other;
      this.#toModel[other] = id;
      shared += 1;
    };
    if (same) for (let id = 0; id < both; id++) join(id, id);
    else {
      const ids = new Map<string, number>();
      for (let id = 0; id < draft.vocab; id++) {
        const key = Buffer.from(draft.bytesOf(id)).toString("latin1");
        if (key !== "" && !ids.has(key)) ids.set(key, id);
      }
      for (let id = 0; id < model.vocab; id++) {
        const other = ids.get(Buffer.from(model.bytesOf(id)).toString("latin1"));
        if (other !== undefined && this.#toModel[other] === none) join(id, other);
      }
    }
    this.shared = shared;
  }

  /** Bytes of a token of the model. */
  bytesOf(id: number): Uint8Array {
    return this.#model.bytesOf(id);
  }

  /** Id in the draft model's vocabulary; undefined if it has no such token. */
  toDraft(id: number): number | undefined {
    const other = this.#toDraft[id] ?? none;
    return other === none ? undefined : other;
  }

  /** Id in the model's vocabulary; undefined if it has no such token. */
  toModel(id: number): number | undefined {
    const other = this.#toModel[id] ?? none;
    return other === none ? undefined : other;
  }

  /** Ids below `count` of the draft model that the model does not have. */
  unknown(count: number): readonly number[] {
    if (this.#unknown?.count !== count) {
      const ids = Array.from({ length: count }, (_, id) => id).filter((id) => this.toModel(id) === undefined);
      this.#unknown = { count, ids };
    }
    return this.#unknown.ids;
  }

  /** @throws {OutriderError} OUTRIDER_UNSUPPORTED if hardly any text is the same tokens to both */
  check(): void {
    const count = this.#toDraft.length;
    if (this.shared >= leastShared * count) return;
    throw new OutriderError(
      "OUTRIDER_UNSUPPORTED",
      `Expected a draft model with at least half of the model's ${count} tokens, received one with ${this.shared} of them: ` +
        "choose a smaller model with the same tokenizer",
    );
  }
}
