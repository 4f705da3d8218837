// What drafters propose from what they have seen: counts of runs, finished texts, a source that is edited.
import { describe, expect, test } from "vitest";
import type { DraftContext, Drafter } from "../../../lib/draft/drafter.ts";
import { input, SourcePointer } from "../../../lib/draft/input.ts";
import { Memory } from "../../../lib/draft/memory.ts";
import { ngram } from "../../../lib/draft/ngram.ts";
import { suffix } from "../../../lib/draft/suffix.ts";
import { SuffixTrie } from "../../../lib/draft/suffix-trie.ts";
import type { TokenTree } from "../../../lib/tree/token-tree.ts";
import { contextOf, greedy } from "../../support/eager.ts";
import { uniform } from "../../support/random.ts";

/** A session that was fed a text: what it proposes. */
function proposal(drafter: Drafter, text: number[], context: DraftContext, nodes = 8): TokenTree | undefined {
  const session = drafter.start(text, context, greedy);
  const tree = session.propose({ nodes, depth: 8 }) as TokenTree | undefined;
  session.end?.();
  return tree;
}

const shape = (tree: TokenTree | undefined) => tree && { token: [...tree.token], parent: [...tree.parent] };

describe("suffix trie", () => {
  test("counts all runs of random texts", () => {
    for (let seed = 0; seed < 20; seed++) {
      const next = uniform(seed);
      const texts = [0, 1].map(() => Array.from({ length: 40 }, () => Math.floor(next() * 3)));
      const trie = new SuffixTrie(4);
      for (const text of texts) {
        trie.cut();
        for (const token of text) trie.append(token);
      }
      const times = (run: number[]) =>
        texts.reduce(
          (sum, text) => sum + text.filter((_, i) => run.every((token, j) => text[i + j] === token)).length,
          0,
        );
      const visit = (node: number, run: number[]) => {
        const found = trie.continuations(node, 8);
        expect(found.map(({ token }) => token).sort()).toEqual(
          run.length === 4 ? [] : [0, 1, 2].filter((token) => times([...run, token]) > 0),
        );
        for (const { token, node: child, count } of found) {
          expect(count).toBe(times([...run, token]));
          expect(trie.length(child)).toBe(run.length + 1);
          visit(child, [...run, token]);
        }
        expect(found.map(({ count }) => count)).toEqual(found.map(({ count }) => count).sort((a, b) => b - a));
      };
      visit(0, []);
    }
  });

  test("ends of its own text, and of another that follows it", () => {
    const trie = new SuffixTrie(3);
    for (const token of [1, 2, 3, 1, 2]) trie.append(token);
    expect(trie.ends.map((node) => trie.length(node))).toEqual([2, 1]);
    let ends: readonly number[] = [];
    for (const token of [9, 1, 2]) ends = trie.follow(ends, token);
    const [longest] = ends;
    expect(trie.continuations(longest, 8).map(({ token, count }) => [token, count])).toEqual([[3, 1]]);
    expect(trie.follow(ends, 77)).toEqual([]);
  });
});

test("memory forgets the older half when it is full", () => {
  const memory = new Memory(100, 3, 10);
  const { trie } = memory;
  memory.add([1, 2, 3]);
  memory.add([4, 5, 6, 7]);
  expect(memory.trie).toBe(trie);
  memory.add([8, 9, 8, 9]);
  expect(memory.trie).not.toBe(trie);
  expect([1, 4, 8].map((token) => memory.trie.step(0, token) >= 0)).toEqual([false, false, true]);
  expect(trie.step(0, 1)).toBeGreaterThan(0);
  const none = new Memory(100, 3, 0);
  none.add([1]);
  expect(none.trie.size).toBe(1);
});

describe("ngram", () => {
  test("what followed most, by the longest run, as a tree", () => {
    const text = [1, 2, 3, 1, 2, 3, 1, 2, 4, 1, 2];
    const tree = proposal(ngram({ n: 3 }), text, contextOf(50), 6) as TokenTree;
    expect(shape(tree)).toEqual({ token: [2, 3, 1, 2, 4, 1, 3], parent: [-1, 0, 1, 2, 0, 4, 3] });
    expect(tree.reach[1]).toBeCloseTo(2 / 4.25, 6); // of four times
    expect(tree.reach[2]).toBeCloseTo((2 / 4.25) * (2 / 2.25), 6);
    expect(tree.reach[4]).toBeCloseTo(1 / 4.25, 6);
  });

  test("nothing where nothing is known; a corpus and finished texts are known", () => {
    const context = contextOf(50);
    expect(proposal(ngram(), [1, 2, 3], context)).toBeUndefined();
    expect(shape(proposal(ngram({ corpus: [2, 3, 9] }), [1, 2, 3], context, 1))?.token).toEqual([3, 9]);
    const drafter = ngram();
    const session = drafter.start([5], context, greedy);
    const rows = { token: new Int32Array(), parent: new Int32Array() };
    session.observe({ tokens: Int32Array.of(6, 7, 8), rows });
    session.end?.();
    expect(shape(proposal(drafter, [1, 6, 7], context, 1))?.token).toEqual([7, 8]);
    expect(proposal(drafter, [1, 6, 7], contextOf(50))).toBeUndefined(); // another model
    expect(proposal(drafter, [5, 5, 9], context)).toBeUndefined(); // the prompt was not remembered
  });

  test("exploring tries what was seen once earlier", () => {
    const text = [1, 2, 1, 2, 1, 2, 1, 2, 1, 3, 1];
    const share = (explore: number) => {
      const session = ngram({ n: 2, explore }).start(text, contextOf(50), greedy);
      const tree = session.propose({ nodes: 8, depth: 1 }) as TokenTree;
      return tree.reach[tree.child(0, 3)] / tree.reach[tree.child(0, 2)];
    };
    expect(share(4)).toBeGreaterThan(share(0));
  });
});

describe("suffix", () => {
  test("a tree by counts, deeper the more agrees", () => {
    const text = [7, 1, 2, 3, 4, 5, 8, 1, 2, 3, 4, 6, 9, 1, 2, 3];
    expect(shape(proposal(suffix({ factor: 1 }), text, contextOf(50)))).toEqual({
      token: [3, 4, 6, 5],
      parent: [-1, 0, 1, 1],
    });
    expect(proposal(suffix({ factor: 0.3 }), text, contextOf(50))?.size).toBe(2);
  });

  test("finished texts, where they promise more", () => {
    const drafter = suffix();
    const context = contextOf(50);
    const session = drafter.start([5], context, greedy);
    const rows = { token: new Int32Array(), parent: new Int32Array() };
    session.observe({ tokens: Int32Array.of(1, 2, 3, 4, 5, 6), rows });
    session.end?.();
    expect(shape(proposal(drafter, [9, 1, 2, 3], context, 3))?.token).toEqual([3, 4, 5, 6]);
  });
});

describe("input", () => {
  const source = Int32Array.from([10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 12, 21]);
  const next = (text: number[]) => {
    const pointer = new SourcePointer(source, 100);
    for (const token of text) pointer.follow(token);
    return pointer.next;
  };

  test("follows the source, and finds it again after what was changed", () => {
    expect(next([])).toBe(0);
    expect(next([10, 11])).toBe(2);
    expect(next([10, 11, 99])).toBeUndefined();
    expect(next([10, 11, 99, 13])).toBe(4); // replaced
    expect(next([10, 11, 99, 98, 12])).toBe(3); // inserted: of two places the one where it was left
    expect(next([10, 11, 14])).toBe(5); // deleted
    expect(next([50, 51, 16, 17])).toBe(8); // something said before
  });

  test("one token that occurs twice is told by those before it", () => {
    expect(next([19, 12])).toBe(11);
  });

  test("far from where it was left it does not look", () => {
    const pointer = new SourcePointer(source, 3);
    for (const token of [10, 99, 19]) pointer.follow(token);
    expect(pointer.next).toBeUndefined();
  });

  test("drafts what comes, from text or ids", () => {
    const ids = proposal(input({ source }), [77, 10], contextOf(100), 3);
    expect(shape(ids)?.token).toEqual([10, 10, 11, 12]); // the prompt is not the output
    expect(shape(proposal(input({ source: "ab" }), [1], contextOf(100), 3))?.token).toEqual([1, 97, 98]);
    const session = input({ source }).start([1], contextOf(100), greedy);
    const rows = { token: new Int32Array(), parent: new Int32Array() };
    session.observe({ tokens: Int32Array.of(10, 11, 12), rows });
    expect(shape(session.propose({ nodes: 2, depth: 9 }) as TokenTree)?.token).toEqual([12, 13, 14]);
    session.observe({ tokens: Int32Array.of(99), rows });
    expect(session.propose({ nodes: 2, depth: 9 })).toBeUndefined();
  });
});

test.each<[string, () => unknown]>([
  ["ngram n", () => ngram({ n: 1 })],
  ["ngram explore", () => ngram({ explore: -1 })],
  ["ngram corpus", () => ngram({ corpus: 5 as unknown as number[] })],
  ["ngram remember", () => ngram({ remember: 0.5 })],
  ["ngram unknown", () => ngram({ size: 4 } as object)],
  ["suffix depth", () => suffix({ depth: 100 })],
  ["suffix factor", () => suffix({ factor: Number.NaN })],
  ["suffix unknown", () => suffix({ size: 4 } as object)],
  ["input without source", () => input({} as { source: string })],
  ["input of nothing", () => input(undefined as unknown as { source: string })],
  ["input window", () => input({ source: "a", window: 0 })],
])("refused: %s", (_, make) => {
  expect(make).toThrow(expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }));
});
