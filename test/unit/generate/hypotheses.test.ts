// Which hypotheses of superposed decoding are kept, on a vocabulary made for the case.
import { describe, expect, test } from "vitest";
import { Hypotheses } from "../../../lib/generate/hypotheses.ts";
import type { Tokenizer } from "../../../lib/text/tokenizer.ts";
import { code } from "../../support/errors.ts";

const pieces = ["<end>", "a", "ab", "b", "bc", "c", "<mark>", "\u00e9", "</s>"];
const tokenizer = {
  specialIds: new Set([0, 6]),
  bytesOf: (id: number) => new Uint8Array(Buffer.from(pieces[id])),
} as unknown as Tokenizer;
const hypotheses = (n: number, stop: string[] = []) =>
  new Hypotheses(tokenizer, [], { n, alpha: 0.5, stop, ends: new Set([0, 8]) });
const law = (logprobs: Record<number, number>) =>
  Object.entries(logprobs).map(([token, logprob]) => ({ token: Number(token), logprob }));
const found = ({ best }: Hypotheses) => best.map(({ bytes, score }) => [bytes, score]);

test("of two ways to the same text the likelier one is kept", () => {
  const some = hypotheses(4);
  some.extend(law({ 1: -1, 2: -2 })); // a, ab
  some.extend(law({ 4: -1, 5: -1.5 })); // abc, ac, abbc, abc
  expect(found(some)).toEqual([
    ["abc", -2],
    ["ac", -2.5],
    ["abbc", -3],
  ]);
  expect(some.best[0].tokens).toEqual([1, 4]);
});

test("marks are no text: what differs by them alone is the same", () => {
  const some = hypotheses(3);
  some.extend(law({ 1: -1, 6: -2 }));
  some.extend(law({ 1: -1, 6: -3 }));
  expect(found(some)).toEqual([
    ["aa", -2],
    ["a", -3],
    ["", -5],
  ]);
});

describe("a hypothesis that ends", () => {
  test("keeps its place, and leaves the superposition", () => {
    const some = hypotheses(3);
    some.extend(law({ 0: -1, 1: -2, 3: -3 }));
    expect([...some.superposition().mix]).toEqual([1, 3]);
    some.extend(law({ 0: -1, 5: -0.5 }));
    expect(some.alive.map(({ bytes }) => bytes)).toEqual(["ac"]);
    expect(found(some)).toEqual([
      ["", -1],
      ["ac", -2.5],
      ["a", -3],
    ]);
    some.extend(law({ 8: -4 }));
    expect(some.alive).toEqual([]);
    expect(some.best.map(({ bytes, ended }) => [bytes, ended])).toEqual([
      ["", true],
      ["a", true],
      ["ac", true],
    ]);
  });

  test("with another end token is the same text", () => {
    const some = hypotheses(3);
    some.extend(law({ 0: -1, 8: -2, 1: -3 }));
    expect(found(some)).toEqual([
      ["", -1],
      ["a", -3],
    ]);
  });

  test("does not keep one that goes on from saying the same", () => {
    const some = hypotheses(4);
    some.extend(law({ 0: -1, 6: -2 })); // "" that ended, "" that goes on
    expect(some.alive.map(({ tokens }) => tokens)).toEqual([[6]]);
    expect(found(some)).toEqual([["", -1]]);
    some.extend(law({ 1: -1 }));
    expect(found(some)).toEqual([
      ["", -1],
      ["a", -3],
    ]);
  });

  test("at a stop string ends before it, across tokens, at the one that is complete first", () => {
    const some = hypotheses(2, ["abc", "\u00e9", "bb"]);
    some.extend(law({ 1: -1, 7: -2 }));
    expect(some.best.map(({ bytes, stop }) => [bytes, stop])).toEqual([
      ["a", undefined],
      ["", "\u00e9"],
    ]);
    some.extend(law({ 3: -1 }));
    some.extend(law({ 4: -1 }));
    expect(some.best.map(({ bytes, stop }) => [bytes, stop])).toEqual([
      ["", "\u00e9"],
      ["a", "bb"],
    ]);
    expect(some.alive).toEqual([]);
  });
});

describe("the superposition", () => {
  test("has each last token once, by the probabilities of the hypotheses", () => {
    const some = hypotheses(8);
    some.extend(law({ 1: Math.log(0.5), 3: Math.log(0.3) }));
    some.extend(law({ 1: Math.log(0.4), 5: Math.log(0.1) }));
    const { mix, mixWeights } = some.superposition();
    expect([...mix]).toEqual([1, 5]);
    expect([...mixWeights]).toEqual([Math.fround(0.8), Math.fround(0.2)]);
  });

  test("of hypotheses with one last token is that token", () => {
    const some = hypotheses(5);
    some.extend(law({ 1: -0.3, 3: -1.7, 5: -2.9, 7: -3.1 }));
    some.extend(law({ 1: -800 }));
    const { mix, mixWeights } = some.superposition();
    expect([[...mix], [...mixWeights]]).toEqual([[1], [1]]);
  });
});

test("NaN and impossible tokens are none to go on with", () => {
  const none = code("OUTRIDER_ARGUMENT", /finite logit/);
  expect(() => hypotheses(2).extend(law({ 1: Number.NaN, 3: Number.NaN }))).toThrow(none);
  expect(() => hypotheses(2).extend([])).toThrow(none);
  const some = hypotheses(2);
  some.extend(law({ 1: Number.NEGATIVE_INFINITY, 3: -1, 5: Number.NaN }));
  expect(found(some)).toEqual([["b", -1]]);
});
