// Where the end of a text occurs before: the suffix automaton and the n-gram index against search by eye.
import { describe, expect, test } from "vitest";
import { copy } from "../../../lib/draft/copy.ts";
import { SuffixAutomaton } from "../../../lib/draft/suffix-automaton.ts";
import type { TokenTree } from "../../../lib/tree/token-tree.ts";
import { contextOf, greedy } from "../../support/eager.ts";
import { uniform } from "../../support/random.ts";

/** Longest end of `text` that ends earlier too, and where its first occurrence ends; by trying all. */
function longestRepeat(text: readonly number[]): { length: number; next: number } {
  for (let length = text.length - 1; length > 0; length--) {
    for (let end = length; end < text.length; end++) {
      let same = 0;
      while (same < length && text[end - 1 - same] === text[text.length - 1 - same]) same++;
      if (same === length) return { length, next: end };
    }
  }
  return { length: 0, next: 0 };
}

const texts = (count: number) =>
  Array.from({ length: count }, (_, seed) => {
    const next = uniform(seed);
    const vocab = 1 + Math.floor(next() * 4);
    return Array.from({ length: 1 + Math.floor(next() * 60) }, () => Math.floor(next() * vocab) * 50_000);
  });

describe("suffix automaton", () => {
  test("the longest repeat at every length of random texts", () => {
    for (const text of texts(60)) {
      const automaton = new SuffixAutomaton();
      for (let i = 0; i < text.length; i++) {
        automaton.append(text[i]);
        const expected = longestRepeat(text.slice(0, i + 1));
        expect(automaton.repeated()).toEqual(expected.length > 0 ? expected : { length: 0, next: 0 });
      }
    }
  });

  test("follows another text through it", () => {
    for (const text of texts(30)) {
      const automaton = new SuffixAutomaton();
      for (const token of text) automaton.append(token);
      const other = texts(31)[30];
      let at = { state: 0, length: 0 };
      for (const [i, token] of other.entries()) {
        at = automaton.follow(at.state, at.length, token);
        let expected = 0;
        for (let length = i + 1; length > 0 && expected === 0; length--)
          if (` ${text.join(" ")} `.includes(` ${other.slice(i + 1 - length, i + 1).join(" ")} `)) expected = length;
        expect(at.length).toBe(expected);
      }
    }
  });

  test("a long text of one token, and one without repeats", () => {
    const [same, all] = [new SuffixAutomaton(), new SuffixAutomaton()];
    for (let i = 0; i < 20_000; i++) {
      same.append(7);
      all.append(i);
    }
    expect(same.repeated()).toEqual({ length: 19_999, next: 19_999 });
    expect(all.repeated().length).toBe(0);
  });
});

describe("copy", () => {
  const proposal = (text: number[], options: Parameters<typeof copy>[0], depth = 4) => {
    const session = copy(options).start(text.slice(0, 3), contextOf(100), greedy);
    session.observe({
      tokens: Int32Array.from(text.slice(3)),
      rows: { token: new Int32Array(), parent: new Int32Array() },
    });
    const tree = session.propose({ nodes: 63, depth });
    if (tree instanceof Promise) throw new Error("not expected");
    return tree && [...tree.token];
  };
  const text = [1, 2, 3, 4, 1, 2, 3, 5, 9, 2, 3, 6, 7, 1, 2, 3];

  test("the first place of the longest match", () => {
    expect(proposal(text, {})).toEqual([3, 4, 1, 2, 3]);
  });

  test("the latest and the earliest place of as many tokens as agree", () => {
    expect(proposal(text, { match: "latest", maxMatch: 3 })).toEqual([3, 5, 9, 2, 3]);
    expect(proposal(text, { match: "latest", maxMatch: 2 })).toEqual([3, 6, 7, 1, 2]);
    expect(proposal(text, { match: "earliest", maxMatch: 3 })).toEqual([3, 4, 1, 2, 3]);
  });

  test("a text that repeats in a period is copied on", () => {
    expect(proposal([1, 2, 3, 1, 2, 3, 1, 2, 3], {}, 7)).toEqual([3, 1, 2, 3, 1, 2, 3, 1]);
    expect(proposal([5, 5, 5, 5], { match: "latest" }, 3)).toEqual([5, 5, 5, 5]);
  });

  test("nothing where too little agrees, and no more than the budget", () => {
    expect(proposal([1, 2, 3, 4, 5, 3], {})).toBeUndefined();
    expect(proposal([1, 2, 3, 4, 5, 3], { minMatch: 1 })).toEqual([3, 4, 5, 3, 4]);
    expect(proposal(text, { maxTokens: 2 })).toEqual([3, 4, 1]);
    expect(proposal([1, 2, 3], { match: "latest" })).toBeUndefined();
  });

  test.each([
    [{ match: "any" }],
    [{ minMatch: 0 }],
    [{ minMatch: 3, maxMatch: 2 }],
    [{ maxTokens: 0.5 }],
    [{ size: 3 }],
  ])("refused: %o", (options) => {
    expect(() => copy(options as Parameters<typeof copy>[0])).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }),
    );
  });
});

describe.each(["latest", "earliest", "longest"] as const)("a copy with tokens that were changed, %s", (match) => {
  const proposals = () => {
    const session = copy({ match }).start([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2], contextOf(100), greedy);
    return (...more: number[]) => {
      const rows = { token: new Int32Array(), parent: new Int32Array() };
      session.observe({ tokens: Int32Array.from(more), rows });
      const tree = session.propose({ nodes: 3, depth: 3 }) as TokenTree | undefined;
      return tree && [...tree.token];
    };
  };

  test("goes on behind them, one for one", () => {
    const ask = proposals();
    expect(ask()).toEqual([2, 3, 4, 5]);
    expect(ask(3, 50)).toEqual([50, 5, 6, 7]);
    expect(ask(51, 52)).toEqual([52, 7, 8, 9]);
    expect(ask(7)).toEqual([7, 8, 9, 10]);
    expect(ask(8)).toEqual([8, 9, 10, 1]); // two agree again
    expect(ask(53, 54, 55)).toEqual([55, 2, 3, 50]);
  });

  test("is given up after more than three", () => {
    const ask = proposals();
    ask();
    expect(ask(50, 51, 52)).toEqual([52, 6, 7, 8]);
    expect(ask(53)).toBeUndefined();
    expect(ask(7)).toBeUndefined();
  });

  test("is less sure than one that agrees", () => {
    const session = copy({ match }).start([1, 2, 3, 4, 5, 6, 1, 2], contextOf(100), greedy);
    const before = session.propose({ nodes: 1, depth: 1 }) as TokenTree;
    session.observe({ tokens: Int32Array.of(50), rows: { token: new Int32Array(), parent: new Int32Array() } });
    const after = session.propose({ nodes: 1, depth: 1 }) as TokenTree;
    expect(after.token[1]).toBe(4);
    expect(after.reach[1]).toBeLessThan(before.reach[1]);
  });
});

describe("copy from a corpus", () => {
  const corpus = Array.from({ length: 5000 }, (_, i) => ((i * i) % 97) + (i % 7));
  const proposals = (text: number[], options: Parameters<typeof copy>[0]) => {
    const session = copy(options).start(text, contextOf(200), greedy);
    for (let i = 0; i < 5; i++) session.propose({ nodes: 4, depth: 4 }); // the corpus is read a slice at a time
    return (more: number[]) => {
      if (more.length > 0)
        session.observe({ tokens: Int32Array.from(more), rows: { token: new Int32Array(), parent: new Int32Array() } });
      const tree = session.propose({ nodes: 4, depth: 4 }) as { token: Int32Array } | undefined;
      return tree && [...tree.token];
    };
  };

  test("goes on as the corpus does where the text itself has nothing", () => {
    const at = 1234;
    const ask = proposals([150, 151, ...corpus.slice(at, at + 12)], { corpus });
    expect(ask([])).toEqual(corpus.slice(at + 11, at + 16));
    expect(ask(corpus.slice(at + 12, at + 14))).toEqual(corpus.slice(at + 13, at + 18));
    expect(ask([160])).toBeUndefined();
    expect(ask(corpus.slice(3000, 3010))).toEqual(corpus.slice(3009, 3014));
  });

  test("the text itself wins where it agrees as long", () => {
    const own = [9, 8, 7, 6, 5, 160, 9, 8, 7, 6, 5];
    expect(proposals(own, { corpus: [8, 7, 6, 5, 170, 171] })([])).toEqual([5, 160, 9, 8, 7]);
    expect(proposals([6, 5, 160, 9, 8, 7, 6, 5], { corpus: [9, 8, 7, 6, 5, 170, 171] })([])).toEqual([5, 170, 171]);
  });

  test("at the end of the corpus there is nothing to copy, and an empty one has nothing", () => {
    expect(proposals([1, 2, 3], { corpus: [9, 1, 2, 3] })([])).toBeUndefined();
    expect(proposals([1, 2, 3], { corpus: [] })([])).toBeUndefined();
    expect(() => copy({ corpus: 5 as never })).toThrow(/an array or typed array of token ids for corpus/);
  });
});
