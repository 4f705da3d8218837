// Tokens of one vocabulary in another.
import { describe, expect, test } from "vitest";
import { type Vocabulary, VocabularyBridge } from "../../../lib/draft/vocabulary-bridge.ts";
import { code } from "../../support/errors.ts";

const of = (tokens: (string | undefined)[]): Vocabulary => ({
  vocab: tokens.length,
  bytesOf: (id) => new TextEncoder().encode(tokens[id] ?? ""),
});

describe("vocabulary bridge", () => {
  test("one vocabulary, one of them padded", () => {
    const bridge = new VocabularyBridge(of(["a", "b", "c"]), of(["a", "b", "c", undefined, undefined]));
    expect(bridge.same).toBe(true);
    expect(bridge.shared).toBe(3);
    for (const id of [0, 1, 2]) {
      expect(bridge.toDraft(id)).toBe(id);
      expect(bridge.toModel(id)).toBe(id);
    }
    expect(bridge.toDraft(3)).toBeUndefined();
    expect(bridge.unknown(5)).toEqual([3, 4]);
    bridge.check();
  });

  test("other ids, other tokens, and one that is there twice", () => {
    const bridge = new VocabularyBridge(of(["a", "b", "c", "d", ""]), of(["b", "x", "a", "b", "d"]));
    expect(bridge.same).toBe(false);
    expect([0, 1, 2, 3, 4].map((id) => bridge.toDraft(id))).toEqual([2, 0, undefined, 4, undefined]);
    expect([0, 1, 2, 3, 4].map((id) => bridge.toModel(id))).toEqual([1, undefined, 0, undefined, 3]);
    expect(bridge.unknown(5)).toEqual([1, 3]);
    expect(bridge.shared).toBe(3);
    bridge.check();
  });

  test("vocabularies with little in common are refused with what to do", () => {
    const bridge = new VocabularyBridge(of(["a", "b", "c", "d"]), of(["d", "e", "f"]));
    expect(() => bridge.check()).toThrow(
      code(
        "OUTRIDER_UNSUPPORTED",
        /^Expected a draft model with at least half of the model's 4 tokens, received one with 1 of them: choose/,
      ),
    );
  });

  test("ids outside of either vocabulary are in neither", () => {
    const bridge = new VocabularyBridge(of(["a"]), of(["a"]));
    for (const id of [-1, 1, 1e9, Number.NaN]) {
      expect(bridge.toDraft(id)).toBeUndefined();
      expect(bridge.toModel(id)).toBeUndefined();
    }
  });
});
