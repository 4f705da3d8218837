// Rules that compare what the target says with the tree: greedy, shared noise, and what refuses which tree.
import { describe, expect, test } from "vitest";
import { sampleUniform } from "../../../lib/ops/sample.ts";
import { Law } from "../../../lib/tree/law.ts";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { block } from "../../../lib/verify/block.ts";
import { chainRejection } from "../../../lib/verify/chain-rejection.ts";
import { greedy } from "../../../lib/verify/greedy.ts";
import { kSeq } from "../../../lib/verify/k-seq.ts";
import { keyedCoins } from "../../../lib/verify/keyed-coins.ts";
import { multiDraft } from "../../../lib/verify/multi-draft.ts";
import { orderedOneHot } from "../../../lib/verify/ordered-one-hot.ts";
import { relaxed } from "../../../lib/verify/relaxed.ts";
import { noisyArgmax, sharedNoise } from "../../../lib/verify/shared-noise.ts";
import { traversal } from "../../../lib/verify/traversal.ts";
import { typical } from "../../../lib/verify/typical.ts";
import type { Coins, Verifier } from "../../../lib/verify/verifier.ts";
import { withoutReplacement as recursive } from "../../../lib/verify/without-replacement.ts";
import { fits } from "../../support/chi-square.ts";
import { likeliestTree, mixture, plainLaw, toyModel } from "../../support/toy-models.ts";

const noCoins: Coins = {
  flip: () => {
    throw new Error("No coin was to be tossed");
  },
  draw: () => {
    throw new Error("Nothing was to be drawn");
  },
};
const target = toyModel(12, 5);
const draft = mixture(target, toyModel(12, 6), 0.6);
const noise = (seed: number) => (position: number, token: number) =>
  -Math.log(-Math.log(sampleUniform(seed, position, token)));

/** Text of `length` tokens by steps of a rule, with trees of likeliest children. */
function text(rule: (start: number) => Verifier, counts: number[], length: number): number[] {
  const tokens = [0];
  while (tokens.length <= length) {
    const before = tokens.slice();
    const tree = likeliestTree((context) => draft([...before, ...context.slice(1)]), counts, tokens[tokens.length - 1]);
    const at = (node: number) => [...before, ...tree.path(node).map((i) => tree.token[i])];
    const { path, next } = rule(before.length).verify(tree, (node) => target(at(node)), noCoins);
    tokens.push(...path.map((node) => tree.token[node]), next);
  }
  return tokens.slice(0, length + 1);
}

describe("greedy", () => {
  test.each([[[1]], [[3]], [[2, 2, 1]], [[1, 1, 1, 1]]])("with %j children the text without", (counts) => {
    expect(text(() => greedy, counts, 60)).toEqual(text(() => greedy, [], 60));
  });

  test("of equals the lowest id", () => {
    const tree = new TokenTree({ token: [1, 3, 2], parent: [-1, 0, 0] });
    expect(greedy.verify(tree, () => Law.of([2, 3], [1, 1]), noCoins)).toEqual({ path: [2], next: 2 });
  });

  test("the worked tree: tokens of nodes 2 and 5, then another", () => {
    const tree = new TokenTree({ token: [9, 10, 20, 30, 40, 50, 60], parent: [-1, 0, 0, 1, 1, 2, 3] });
    const said = new Map([
      [0, 20],
      [2, 50],
      [5, 7],
    ]);
    const found = greedy.verify(tree, (node) => Law.certain(said.get(node) ?? 0), noCoins);
    expect(found).toEqual({ path: [2, 5], next: 7 });
    expect(greedy.verify(tree, () => Law.certain(8), noCoins)).toEqual({ path: [], next: 8 });
  });
});

describe("shared noise", () => {
  test.each([1, 2, 3])("seed %i: the same text with any tree", (seed) => {
    const rule = (start: number) => sharedNoise(noise(seed), start);
    const plain = text(rule, [], 80);
    for (const counts of [[1], [4], [2, 2, 2], [1, 1, 1, 1, 1]]) expect(text(rule, counts, 80)).toEqual(plain);
  });

  test("draws the target's law", () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 50_000; seed++) {
      const said = String(noisyArgmax(target([0]), (token) => noise(seed)(1, token)));
      counts.set(said, (counts.get(said) ?? 0) + 1);
    }
    expect(fits(counts, plainLaw(target, 0, 1))).toBe(true);
  });

  test("a drafter with the same noise says the same as often as the laws allow", () => {
    const p = Law.of([0, 1, 2, 3], [0.5, 0.3, 0.15, 0.05]);
    const q = Law.of([0, 1, 2, 3], [0.1, 0.4, 0.3, 0.2]);
    const trials = 50_000;
    let same = 0;
    for (let seed = 0; seed < trials; seed++) {
      const shared = (token: number) => noise(seed)(3, token);
      if (noisyArgmax(p, shared) === noisyArgmax(q, shared)) same += 1;
    }
    const expected = 0.548176;
    expect(Math.abs(same / trials - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / trials));
  });
});

describe("approximate rules", () => {
  test("relaxed acceptance takes what is nearly as likely, and with one candidate is greedy", () => {
    const tree = new TokenTree({ token: [9, 1], parent: [-1, 0] });
    const law = Law.of([1, 2], [0.45, 0.55]);
    expect(relaxed(2, 1).verify(tree, () => law, noCoins)).toEqual({ path: [1], next: 2 });
    expect(relaxed(2, 0.1).verify(tree, () => law, noCoins)).toEqual({ path: [], next: 2 });
    expect(text(() => relaxed(1), [2, 1], 40)).toEqual(text(() => greedy, [], 40));
    expect(relaxed().exact).toBe(false);
  });

  test("typical acceptance takes the longest path, and of two the likelier", () => {
    const flat = Law.of([0, 1, 2, 3], [1, 1, 1, 1]);
    const tree = new TokenTree({ token: [9, 1, 2, 3, 0], parent: [-1, 0, 0, 2, 3] });
    const take: Coins = { flip: () => true, draw: (law) => law.ids[0] };
    const peaked = Law.of([0, 1, 2, 3], [1, 1, 3, 1]);
    const target = (node: number) => (node === 0 ? peaked : flat);
    expect(typical().verify(tree, target, take)).toEqual({ path: [2, 3, 4], next: 0 });
    expect(typical().verify(tree, () => flat, take)).toEqual({ path: [], next: 0 }); // the first is not the likeliest
    expect(typical().verify(tree, () => Law.certain(3), take)).toEqual({ path: [], next: 3 });
  });
});

describe("trees that a rule cannot judge", () => {
  const law = Law.of([1, 2], [1, 1]);
  const given = new TokenTree({ token: [0, 1], parent: [-1, 0] });
  const branching = new TokenTree({
    token: [0, 1, 2],
    parent: [-1, 0, 0],
    draws: [
      { node: 1, law },
      { node: 2, law },
    ],
  });
  const twice = new TokenTree({
    token: [0, 1],
    parent: [-1, 0],
    draws: [
      { node: 1, law },
      { node: 1, law },
    ],
  });
  const other = new TokenTree({
    token: [0, 1, 2],
    parent: [-1, 0, 0],
    draws: [
      { node: 1, law },
      { node: 2, law: Law.certain(2) },
    ],
  });

  test.each<[Verifier, TokenTree, string]>([
    [chainRejection, given, "drawn"],
    [chainRejection, branching, "a chain"],
    [chainRejection, twice, "once"],
    [block, given, "drawn"],
    [block, branching, "a chain"],
    [multiDraft, given, "drawn"],
    [recursive, given, "drawn"],
    [recursive, twice, "once"],
    [traversal, given, "drawn"],
    [traversal, twice, "once"],
    [kSeq, given, "drawn"],
    [kSeq, other, "draws of one law"],
    [orderedOneHot, branching, "given"],
  ])("$name", (rule, tree, message) => {
    expect(() => rule.verify(tree, () => law, noCoins)).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT", message: expect.stringContaining(message) }),
    );
  });
});

test("keyed coins repeat, and differ by seed, position and toss", () => {
  const tosses = (seed: bigint, position: number) => {
    const coins = keyedCoins(seed, position);
    return Array.from({ length: 64 }, () => (coins.flip(0.5) ? 1 : 0)).join("");
  };
  expect(tosses(1n, 0)).toBe(tosses(1n, 0));
  const all = [tosses(1n, 0), tosses(1n, 1), tosses(2n, 0), tosses(1n + 2n ** 32n, 0), tosses(-1n, 0)];
  expect(new Set(all).size).toBe(all.length);
  const coins = keyedCoins(5n, 9);
  const heads = Array.from({ length: 40_000 }, () => coins.flip(0.3)).filter(Boolean).length;
  expect(Math.abs(heads - 12_000)).toBeLessThan(4 * Math.sqrt(40_000 * 0.21));
});
