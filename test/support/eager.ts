// A policy that drafts whatever it is offered, for tests of what drafting must not change.
import type { DraftContext, DraftCosts, DraftSampling } from "../../lib/draft/drafter.ts";
import { Experience } from "../../lib/draft/experience.ts";
import { resolveOptions } from "../../lib/generate/options.ts";

/** Believes that a step of up to so many rows costs no more than a token and a larger one is past price, and learns nothing else. */
export class Eager extends Experience {
  constructor(rows = 64) {
    super();
    this.curve.restore([
      [1, 1, 1],
      [rows, 1, 1],
      [rows + 1, 1e6, 1],
    ]);
  }

  override get plain(): number {
    return 1;
  }

  override observePlain(): void {}

  override observeTree(): void {}
}

/** A context for drafters without a tokenizer: a text is the codes of its characters. */
export const contextOf = (vocab: number, fingerprint = "0"): DraftContext =>
  Object.freeze({
    vocab,
    layers: 4,
    fingerprint,
    encode: (text: string) => Int32Array.from(text, (character) => (character.codePointAt(0) as number) % vocab),
    bytesOf: (id: number) => Uint8Array.of(id & 255, id >> 8),
  });

/** How a greedy text is drawn, for drafters without a model. */
export const greedy: DraftSampling = { ...resolveOptions({ temperature: 0, seed: 1 }, {}, 2 ** 20), endIds: [] };

/** Costs by a curve of seconds by rows, and seconds of a token. */
export const costsOf = (curve: (rows: number) => number, token: number): DraftCosts => ({ token, tree: curve });
