// A text as the model has it that drafts for it: its tokens, and how they are drawn, in another vocabulary perhaps.

import type { DraftSampling } from "../draft/drafter.ts";
import type { VocabularyBridge } from "../draft/vocabulary-bridge.ts";
import type { ModelParts } from "./parts.ts";

/** Where ids and positions are others, penalties mean nothing and the noise is another: the likeliest token is the best guess. */
const foreign = { temperature: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 };

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A text in tokens of a draft model. */
export class DraftText {
  readonly tokens: number[] = [];
  /** The last token of the text, as its own model has it; -1 if there is none. */
  root = -1;
  /** How the text is drawn, with ids of the draft model. */
  readonly sampling: DraftSampling;
  readonly #model: ModelParts;
  readonly #bridge: VocabularyBridge;

  constructor(model: ModelParts, bridge: VocabularyBridge, tokens: ArrayLike<number>, sampling: DraftSampling) {
    this.#model = model;
    this.#bridge = bridge;
    this.append(tokens);
    const { vocab } = model.runtime.spec;
    const bias = new Map(bridge.same ? [...sampling.logitBias].filter(([id]) => id < vocab) : []);
    for (const id of bridge.unknown(vocab)) bias.set(id, Number.NEGATIVE_INFINITY);
    const ids = (list: readonly number[]) => list.flatMap((id) => bridge.toDraft(id) ?? []);
    this.sampling = {
      ...{ ...sampling, ...(bridge.same ? {} : foreign), logitBias: bias },
      ...{ stopTokens: ids(sampling.stopTokens), endIds: ids(sampling.endIds) },
    };
  }

  /** Takes tokens of the text's own model. */
  append(tokens: ArrayLike<number>): void {
    for (let i = 0; i < tokens.length; i++) {
      const id = this.#bridge.toDraft(tokens[i]);
      if (id !== undefined) this.tokens.push(id);
      else this.tokens.push(...this.#spelled(tokens[i]));
    }
    this.root = tokens.length > 0 ? tokens[tokens.length - 1] : this.root;
  }

  /** A token that the draft model does not have, in several that it has. */
  #spelled(token: number): Int32Array {
    try {
      return this.#model.tokenizer.encode(decoder.decode(this.#bridge.bytesOf(token)), { special: false });
    } catch {
      return new Int32Array(); // part of a character: left out, which costs acceptance at most
    }
  }
}
