// Numbers that were worked out beforehand: p = (.5, .3, .15, .05), q = (.1, .4, .3, .2) at every step.
import { describe, expect, test } from "vitest";
import { Law } from "../../../lib/tree/law.ts";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { block } from "../../../lib/verify/block.ts";
import { chainRejection } from "../../../lib/verify/chain-rejection.ts";
import { acceptanceAt, bestFactor, kSeq } from "../../../lib/verify/k-seq.ts";
import { multiDraft } from "../../../lib/verify/multi-draft.ts";
import { sampleMatching } from "../../../lib/verify/sample-matching.ts";
import { traversal } from "../../../lib/verify/traversal.ts";
import { typicalThreshold } from "../../../lib/verify/typical.ts";
import type { Coins, Verifier } from "../../../lib/verify/verifier.ts";
import { withoutReplacement as recursive } from "../../../lib/verify/without-replacement.ts";
import { enumerate } from "../../support/enumerate.ts";
import { drawTree, independent, likeliestTree, withoutReplacement } from "../../support/toy-models.ts";

const p = Law.of([0, 1, 2, 3], [0.5, 0.3, 0.15, 0.05]);
const q = Law.of([0, 1, 2, 3], [0.1, 0.4, 0.3, 0.2]);

/** Mean number of accepted tokens. */
function accepted(rule: Verifier, propose: (coins: Coins) => TokenTree): number {
  const lengths = enumerate((coins) => String(rule.verify(propose(coins), () => p, coins).path.length));
  return [...lengths].reduce((sum, [length, probability]) => sum + Number(length) * probability, 0);
}

const drawing = { independent, withoutReplacement };

describe("acceptance at one node", () => {
  test.each<[Verifier, keyof typeof drawing, number[]]>([
    [chainRejection, "independent", [0.6]],
    [multiDraft, "independent", [0.6, 0.64, 0.676]],
    [recursive, "withoutReplacement", [0.6, 0.656845, 0.748988]],
    [kSeq, "independent", [0.6, 0.658443, 0.710003]],
    [traversal, "withoutReplacement", [0.6, 0.656845, 0.748988]],
  ])("$name, drawn $1", (rule, how, expected) => {
    for (const [i, value] of expected.entries()) {
      const found = accepted(rule, (coins) => drawTree(() => q, drawing[how], [i + 1], 9, coins));
      expect(found).toBeCloseTo(value, 6);
    }
  });

  test("given by rank under q", () => {
    const found = [1, 2, 3].map((k) => accepted(sampleMatching, () => likeliestTree(() => q, [k], 9)));
    [0.3, 0.45, 0.5].forEach((value, i) => void expect(found[i]).toBeCloseTo(value, 12));
  });

  test("k-SEQ's factor and the acceptance at it", () => {
    expect(bestFactor(1, p, q)).toBe(1);
    expect(bestFactor(2, p, q)).toBeCloseTo(1.584429, 6);
    expect(acceptanceAt(bestFactor(2, p, q), p, q)).toBeCloseTo(0.415571, 6);
    expect(bestFactor(3, p, q)).toBeCloseTo(2.100031, 6);
    expect(acceptanceAt(bestFactor(3, p, q), p, q)).toBeCloseTo(0.338092, 6);
  });

  test("a refusal leaves (1, 0, 0, 0)", () => {
    const { sum, law } = p.minus(q);
    expect(sum).toBeCloseTo(0.4, 12);
    expect([...(law?.ids ?? [])]).toEqual([0]);
    expect([...(law?.mass ?? [])]).toEqual([1]);
  });
});

describe("chains", () => {
  test.each([
    [1, 0.6, 0.6],
    [2, 0.96, 1.0],
    [3, 1.176, 1.29175],
    [4, 1.3056, 1.51345],
  ])("of %i tokens: one by one %d, as a block %d", (length, single, whole) => {
    const propose = (coins: Coins) => drawTree(() => q, independent, Array(length).fill(1), 9, coins);
    expect(accepted(chainRejection, propose)).toBeCloseTo(single, 4);
    expect(accepted(block, propose)).toBeCloseTo(whole, 4);
    if (length < 4) expect(accepted(traversal, propose)).toBeCloseTo(whole, 4);
  });

  const flips = (tokens: number[]) => {
    const asked: number[] = [];
    const flip = (probability: number) => {
      asked.push(probability);
      return false;
    };
    const refuse: Coins = { flip, draw: () => 0 };
    const draws = tokens.map((_, i) => ({ node: i + 1, law: q }));
    const tree = new TokenTree({
      token: [9, ...tokens],
      parent: tokens.map((_, i) => i - 1).concat(tokens.length - 1),
      draws,
    });
    block.verify(tree, () => p, refuse);
    return asked;
  };

  test("acceptance of each length", () => {
    const [whole, first] = flips([1, 0]);
    expect(whole).toBeCloseTo(1, 12);
    expect(first).toBeCloseTo(0.52381, 6);
    const [longer, shorter] = flips([1, 2]);
    expect(longer).toBeCloseTo(0.375, 12);
    expect(shorter).toBeCloseTo(0.52381, 6);
  });
});

test("typical thresholds", () => {
  expect(typicalThreshold(p, 0.09, 0.3)).toBe(0.09);
  expect(typicalThreshold(p, 1, 0.3)).toBeCloseTo(0.095746, 5);
  expect(typicalThreshold(Law.of([0, 1, 2, 3], [1, 1, 1, 1]), 0.09, 0.3)).toBeCloseTo(0.075, 4);
  expect(typicalThreshold(Law.of([0, 1, 2, 3], [0.97, 0.01, 0.01, 0.01]), 0.09, 0.3)).toBe(0.09);
});
