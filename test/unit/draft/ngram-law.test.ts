// The law of counted runs: a law, and that of its definition.
import { describe, expect, test } from "vitest";
import { type Ends, endsAfter } from "../../../lib/draft/counted-text.ts";
import { NgramLaw } from "../../../lib/draft/ngram-law.ts";
import { SuffixTrie } from "../../../lib/draft/suffix-trie.ts";
import { uniform } from "../../support/random.ts";

const depth = 4;
const counted = (...texts: number[][]) => {
  const trie = new SuffixTrie(depth);
  for (const text of texts) {
    trie.cut();
    for (const token of text) trie.append(token);
  }
  return trie;
};
const behind = (past: readonly number[], ...tries: SuffixTrie[]) =>
  past.reduce<readonly Ends[]>(
    endsAfter,
    tries.map((trie) => ({ trie, ends: [] })),
  );

test("of a text by hand", () => {
  // 1 was followed by 2 twice and by 3 once; 0 1 by 2 once.
  const law = new NgramLaw(behind([0, 1], counted([1, 2, 1, 3, 0, 1, 2])));
  const short = (times: number, p: number) => (times + 2 * p) / 5;
  expect(law.known).toBe(true);
  expect(law.probability(2, 0.1)).toBeCloseTo((1 + short(2, 0.1)) / 2, 15);
  expect(law.probability(3, 0.1)).toBeCloseTo(short(1, 0.1) / 2, 15);
  expect(law.probability(7, 0.1)).toBeCloseTo(short(0, 0.1) / 2, 15);
});

test("is the model's own where no run is known", () => {
  for (const past of [[], [9], [2, 5]]) {
    const law = new NgramLaw(behind(past, counted([1, 2, 3], [4, 5]), counted([5])));
    expect(law.known).toBe(false);
    expect(law.probability(2, 0.3)).toBe(0.3);
  }
});

test("a run that goes from one text into the next was not seen", () => {
  expect(new NgramLaw(behind([3], counted([1, 2, 3], [4, 5]))).known).toBe(false);
});

describe("of random texts", () => {
  const kinds = 4;
  const next = uniform(8);
  const text = (length: number) => Array.from({ length }, () => Math.floor(next() * kinds));
  const tries = [counted(text(60), text(30)), counted(text(12))];

  test("adds up to 1 where the model's does", () => {
    for (let i = 0; i < 200; i++) {
      const before = Array.from({ length: kinds + 3 }, () => next());
      const total = before.reduce((sum, p) => sum + p, 0);
      const law = new NgramLaw(behind(text(Math.floor(next() * 8)), ...tries));
      const all = before.map((p, token) => law.probability(token, p / total));
      expect(all.every((p) => p > 0 && p <= 1)).toBe(true);
      expect(all.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    }
  });

  test("what followed a run is counted as its continuations are", () => {
    const [trie] = tries;
    for (let node = 0; node < trie.size; node++) {
      const all = trie.continuations(node, kinds + 1);
      const count = all.reduce((sum, one) => sum + one.count, 0);
      expect(trie.following(node)).toEqual({ count, kinds: all.length });
    }
  });
});
