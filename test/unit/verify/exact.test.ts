// Every exact rule has the target's law as its output law: by enumeration of all proposals and all coins.
import { describe, expect, test } from "vitest";
import { Law } from "../../../lib/tree/law.ts";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { block } from "../../../lib/verify/block.ts";
import { chainRejection } from "../../../lib/verify/chain-rejection.ts";
import { kSeq } from "../../../lib/verify/k-seq.ts";
import { multiDraft } from "../../../lib/verify/multi-draft.ts";
import { orderedOneHot } from "../../../lib/verify/ordered-one-hot.ts";
import { sampleMatching } from "../../../lib/verify/sample-matching.ts";
import { offerAll } from "../../../lib/verify/stages.ts";
import { traversal } from "../../../lib/verify/traversal.ts";
import { typical } from "../../../lib/verify/typical.ts";
import type { Coins, Verifier } from "../../../lib/verify/verifier.ts";
import { withoutReplacement as recursive } from "../../../lib/verify/without-replacement.ts";
import { enumerate, largestDifference } from "../../support/enumerate.ts";
import {
  type Drawing,
  drawTree,
  independent,
  likeliestTree,
  mixture,
  plainLaw,
  stepOf,
  type Toy,
  toyModel,
  truncated,
  withoutReplacement,
} from "../../support/toy-models.ts";

const root = 0;

/** Law of the first `length` tokens: a step, and what is missing after it from the model itself. */
function outputLaw(target: Toy, propose: (coins: Coins) => TokenTree, rule: Verifier, length: number) {
  return enumerate((coins) => {
    const tokens = stepOf(target, propose(coins), rule, coins).slice(0, length);
    while (tokens.length < length) tokens.push(coins.draw(target([root, ...tokens])));
    return tokens.join();
  });
}

/** A drafter that is near the target; of two seeds in three one that leaves out what the target may say, and one that is all its own. */
const models = (vocab: number, seed: number): [Toy, Toy] => {
  const target = toyModel(vocab, seed);
  const other = toyModel(vocab, seed + 1000, 8, 0.6);
  return [
    target,
    seed % 3 === 0 ? other : seed % 3 === 1 ? mixture(target, other, 0.4) : truncated(mixture(target, other, 0.4), 2),
  ];
};

const drawn: [Verifier, Drawing, number[], number, number][] = [
  // rule, drawing, children by depth, vocabulary, tokens compared
  [chainRejection, independent, [1], 5, 2],
  [chainRejection, independent, [1, 1, 1], 3, 4],
  [block, independent, [1], 5, 2],
  [block, independent, [1, 1, 1], 3, 4],
  [block, independent, [1, 1, 1, 1], 2, 5],
  [multiDraft, independent, [2], 5, 2],
  [multiDraft, independent, [3, 1], 3, 3],
  [multiDraft, withoutReplacement, [2, 2], 3, 3],
  [recursive, withoutReplacement, [1], 5, 2],
  [recursive, withoutReplacement, [2], 5, 2],
  [recursive, withoutReplacement, [3], 5, 2],
  [recursive, withoutReplacement, [5], 5, 1],
  [recursive, withoutReplacement, [2, 2], 3, 3],
  [kSeq, independent, [1, 1], 4, 3],
  [kSeq, independent, [2], 5, 2],
  [kSeq, independent, [3], 4, 2],
  [kSeq, independent, [4, 1], 2, 3],
  [traversal, withoutReplacement, [1, 1, 1], 3, 4],
  [traversal, withoutReplacement, [3], 4, 2],
  [traversal, withoutReplacement, [2, 2], 3, 3],
  [traversal, withoutReplacement, [2, 1, 1], 2, 4],
  [sampleMatching, independent, [2, 1], 3, 3],
];

describe("drawn children", () => {
  test.each(drawn)("$name, %o, %j children, %i tokens", (rule, drawing, counts, vocab, length) => {
    for (let seed = 1; seed <= 8; seed++) {
      const [target, draft] = models(vocab, seed);
      const found = outputLaw(target, (coins) => drawTree(draft, drawing, counts, root, coins), rule, length);
      expect(largestDifference(found, plainLaw(target, root, length))).toBeLessThan(1e-12);
    }
  });

  test("k-SEQ goes on with the draws that had the accepted token", () => {
    // Two paths of independent draws; a node's children are those of the paths that pass through it.
    const paths = (draft: Toy) => (coins: Coins) => {
      const token = [root];
      const parent = [-1];
      const draws: { node: number; law: Law }[] = [];
      const at = [0, 0];
      for (let depth = 0; depth < 2; depth++) {
        for (let path = 0; path < 2; path++) {
          const context = [root];
          for (let i = at[path]; i > 0; i = parent[i]) context.splice(1, 0, token[i]);
          const law = draft(context);
          const x = coins.draw(law);
          let node = token.findIndex((t, i) => i > 0 && t === x && parent[i] === at[path]);
          if (node < 0) {
            node = token.length;
            token.push(x);
            parent.push(at[path]);
          }
          draws.push({ node, law });
          at[path] = node;
        }
      }
      return new TokenTree({ token, parent, draws });
    };
    for (let seed = 1; seed <= 8; seed++) {
      const [target, draft] = models(3, seed);
      const found = outputLaw(target, paths(draft), kSeq, 3);
      expect(largestDifference(found, plainLaw(target, root, 3))).toBeLessThan(1e-12);
    }
  });

  test("draws of several drafters, each with its own law", () => {
    for (let seed = 1; seed <= 8; seed++) {
      const [target, first] = models(4, seed);
      const second = toyModel(4, seed + 2000);
      const propose = (coins: Coins) => {
        const laws = [first([root]), second([root]), first([root])];
        const tokens = laws.map((law) => coins.draw(law));
        const distinct = [...new Set(tokens)];
        const draws = tokens.map((token, i) => ({ node: distinct.indexOf(token) + 1, law: laws[i] }));
        return new TokenTree({ token: [root, ...distinct], parent: [-1, ...distinct.map(() => 0)], draws });
      };
      expect(largestDifference(outputLaw(target, propose, multiDraft, 2), plainLaw(target, root, 2))).toBeLessThan(
        1e-12,
      );
    }
  });

  test("to draw another child only where the first was unlikely is exact: nothing drawn is dropped", () => {
    for (let seed = 1; seed <= 8; seed++) {
      const [target, draft] = models(4, seed);
      const propose = (coins: Coins) => {
        const law = draft([root]);
        const token = coins.draw(law);
        const left = law.at(token) < 0.5 ? law.without(token) : undefined;
        if (!left) return new TokenTree({ token: [root, token], parent: [-1, 0], draws: [{ node: 1, law }] });
        const other = coins.draw(left);
        const draws = [
          { node: 1, law },
          { node: 2, law: left },
        ];
        return new TokenTree({ token: [root, token, other], parent: [-1, 0, 0], draws });
      };
      expect(largestDifference(outputLaw(target, propose, recursive, 2), plainLaw(target, root, 2))).toBeLessThan(
        1e-12,
      );
    }
  });
});

describe("given children", () => {
  test.each(
    [orderedOneHot, sampleMatching].flatMap((rule) => [[2], [3, 1], [2, 2]].map((counts) => ({ rule, counts }))),
  )("$rule.name, $counts children", ({ rule, counts }) => {
    for (let seed = 1; seed <= 8; seed++) {
      const [target, draft] = models(4, seed);
      const found = outputLaw(target, () => likeliestTree(draft, counts, root), rule, 3);
      expect(largestDifference(found, plainLaw(target, root, 3))).toBeLessThan(1e-12);
    }
  });

  test("a tree of nothing is plain decoding", () => {
    const [target] = models(5, 3);
    const nothing = () => new TokenTree({ token: [root], parent: [-1] });
    for (const rule of [chainRejection, block, multiDraft, recursive, kSeq, traversal, sampleMatching, orderedOneHot]) {
      expect(largestDifference(outputLaw(target, nothing, rule, 1), plainLaw(target, root, 1))).toBeLessThan(1e-15);
    }
  });
});

// What must fail, so that what passes says something.
describe("biased variants are found", () => {
  const bias = (propose: (target: Toy, draft: Toy) => (coins: Coins) => TokenTree, rule: Verifier) => {
    let largest = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const [target, draft] = models(4, seed);
      const found = outputLaw(target, propose(target, draft), rule, 1);
      largest = Math.max(largest, largestDifference(found, plainLaw(target, root, 1)));
    }
    return largest;
  };

  test("a draw that is dropped because it is unlikely", () => {
    const propose = (_: Toy, draft: Toy) => (coins: Coins) => {
      const tree = drawTree(draft, independent, [1], root, coins);
      const [{ law }] = tree.draws ?? [];
      return law.at(tree.token[1]) < 0.3 ? new TokenTree({ token: [root], parent: [-1] }) : tree;
    };
    expect(bias(propose, chainRejection)).toBeGreaterThan(0.01);
  });

  test("the likelier of two draws", () => {
    const propose = (_: Toy, draft: Toy) => (coins: Coins) => {
      const law = draft([root]);
      const drawn = withoutReplacement(law, 2, coins);
      const { token } = drawn.reduce((a, b) => (law.at(b.token) > law.at(a.token) ? b : a));
      return new TokenTree({ token: [root, token], parent: [-1, 0], draws: [{ node: 1, law }] });
    };
    expect(bias(propose, recursive)).toBeGreaterThan(0.01);
  });

  test("the law before truncation, for a draw after it", () => {
    const propose = (_: Toy, draft: Toy) => (coins: Coins) => {
      const law = draft([root]);
      const ranked = Array.from(law.ids).sort((a, b) => law.at(b) - law.at(a));
      const kept = ranked.slice(0, 2).sort((a, b) => a - b);
      const token = coins.draw(
        Law.of(
          kept,
          kept.map((id) => law.at(id)),
        ),
      );
      return new TokenTree({ token: [root, token], parent: [-1, 0], draws: [{ node: 1, law }] });
    };
    expect(bias(propose, chainRejection)).toBeGreaterThan(0.01);
  });

  test("draws without replacement, tested as if they were with it", () => {
    const propose = (_: Toy, draft: Toy) => (coins: Coins) => {
      const law = draft([root]);
      const drawn = withoutReplacement(law, 3, coins);
      return new TokenTree({
        token: [root, ...drawn.map(({ token }) => token)],
        parent: [-1, ...drawn.map(() => 0)],
        draws: drawn.map((_, i) => ({ node: i + 1, law })),
      });
    };
    expect(bias(propose, recursive)).toBeGreaterThan(0.01);
  });

  test("given children, tested with the drafter's law as if they were drawn", () => {
    const propose = (_: Toy, draft: Toy) => () => {
      const { token, parent } = likeliestTree(draft, [1], root);
      return new TokenTree({ token, parent, draws: [{ node: 1, law: draft([root]) }] });
    };
    expect(bias(propose, chainRejection)).toBeGreaterThan(0.01);
  });

  test("typical acceptance, which says that it is not exact", () => {
    expect(typical().exact).toBe(false);
    expect(bias((_, draft) => () => likeliestTree(draft, [2], root), typical())).toBeGreaterThan(0.01);
  });
});

test("an offer that is due by rounding alone is accepted", () => {
  const p = Law.of([0, 1], [0.3, 0.7]);
  const q = Law.of([0, 1], [0.3 + 1e-14, 0.7 - 1e-14]);
  const tree = new TokenTree({ token: [5, 0], parent: [-1, 0], draws: [{ node: 1, law: q }] });
  const refuse: Coins = { flip: () => false, draw: () => 9 };
  expect(offerAll(tree, p, [{ node: 1, law: q }], refuse)).toEqual({ child: 1 });
});
