// Trees from chains, shapes and other trees.
import { describe, expect, test } from "vitest";
import { bestFirst } from "../../../lib/tree/best-first.ts";
import { chain, fill, merge, prune, template } from "../../../lib/tree/build.ts";
import { Law } from "../../../lib/tree/law.ts";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { uniform } from "../../support/random.ts";

describe("templates", () => {
  test("rank paths in any order", () => {
    const { parent, rank } = template([[1, 0], [0], [0, 2], [1]]);
    expect([...parent]).toEqual([-1, 0, 0, 1, 2]);
    expect([...rank]).toEqual([0, 0, 1, 2, 0]);
  });

  test.each([
    ["beginning", [[0], [1, 0]]],
    ["once", [[0], [0]]],
    ["ranks", [[]]],
    ["ranks", [[-1]]],
    ["fewer than 256", Array.from({ length: 256 }, (_, i) => [i])],
  ])("refused: %s", (message, paths) => {
    expect(() => template(paths)).toThrow(message);
  });

  test("what has no candidate is left out with all below it, and equal siblings are one", () => {
    const shape = template([[0], [1], [2], [0, 0], [1, 0], [2, 0]]);
    const tree = fill(5, shape, (token, rank, depth) => (depth > 0 ? token + 1 : [8, undefined, 8][rank]), 4);
    expect([...tree.token]).toEqual([5, 8, 9]);
    expect([...tree.parent]).toEqual([-1, 0, 1]);
    expect([...tree.source]).toEqual([0, 4, 4]);
  });
});

describe("merging", () => {
  test("common beginnings once, with the largest reach and all sources", () => {
    const merged = merge([
      chain(1, [2, 3, 4], [0.9, 0.5, 0.1], 1),
      chain(1, [2, 5], [0.6, 0.6], 2),
      chain(1, []),
      chain(1, [6], [0.3], 4),
    ]);
    expect([...merged.token]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...merged.parent]).toEqual([-1, 0, 1, 2, 1, 0]);
    expect([...merged.source]).toEqual([0, 3, 1, 1, 2, 4]);
    // 0.9 and 0.3 are more than there is, and so are the shares below token 2.
    const [two, six] = [0.9 / 1.2, 0.3 / 1.2];
    const [three, five] = [(two * 0.5) / 1.1, (two * 0.6) / 1.1];
    for (const [i, reach] of [1, two, three, three / 5, five, six].entries())
      expect(merged.reach[i]).toBeCloseTo(reach, 6);
  });

  test("the highest source bit", () => {
    expect(merge([chain(1, [2], [1], 2 ** 31)]).source[1]).toBe(2 ** 31);
  });

  test("refuses other roots, drawn children, nothing, and too much", () => {
    const drawn = new TokenTree({ token: [1, 2], parent: [-1, 0], draws: [{ node: 1, law: Law.certain(2) }] });
    expect(() => merge([chain(1, [2]), chain(2, [2])])).toThrow("trees for token 1");
    expect(() => merge([chain(1, [2]), drawn])).toThrow("given, not drawn");
    expect(() => merge([])).toThrow("at least one tree");
    expect(() => merge([0, 1].map((i) => chain(1, Array(200).fill(i))))).toThrow("256");
    expect(() => prune(drawn, 1)).toThrow("given, not drawn");
    expect(prune(drawn, 2)).toBe(drawn);
  });
});

test("pruning keeps the nodes of largest reach, parents before children", () => {
  for (let seed = 0; seed < 50; seed++) {
    const next = uniform(seed);
    const parent = Array.from({ length: 60 }, (_, i) => (i === 0 ? -1 : Math.floor(next() * i)));
    const reach: number[] = [];
    for (const p of parent) reach.push(p < 0 ? 1 : reach[p] * Math.ceil(next() * 4) * 0.25);
    const tree = new TokenTree({ token: parent.map((_, i) => i), parent, reach });
    for (const n of [1, 2, 17, 59]) {
      const pruned = prune(tree, n);
      expect(pruned.size).toBe(n);
      const least = [...tree.reach].sort((a, b) => b - a)[n - 1];
      expect(Math.min(...pruned.reach)).toBe(least);
      for (let i = 1; i < n; i++) expect(pruned.token[pruned.parent[i]]).toBe(parent[pruned.token[i]]);
    }
  }
});

describe("best-first shapes", () => {
  const acceptance = [[0.6, 0.18, 0.08, 0.04, 0.02, 0.01]];

  test("order and reach for a vector of ranks", () => {
    const found = bestFirst(acceptance, 12, 10);
    expect(found.slice(0, 9).map(({ path }) => path.join())).toEqual([
      "0",
      "0,0",
      "0,0,0",
      "1",
      "0,0,0,0",
      "0,1",
      "1,0",
      "2",
      "0,0,0,0,0",
    ]);
    const reaches = [0.6, 0.36, 0.216, 0.18, 0.1296, 0.108, 0.108, 0.08, 0.07776, 0.0648, 0.0648, 0.0648];
    found.forEach(({ reach }, i) => void expect(reach).toBeCloseTo(reaches[i], 12));
    expect(1 + found.reduce((sum, { reach }) => sum + reach, 0)).toBeCloseTo(3.05376, 12);
  });

  test.each([
    [4, 10, 2.176],
    [8, 10, 2.7016],
    [16, 6, 3.18976],
    [16, 10, 3.19642],
    [24, 10, 3.48194],
  ])("%i nodes on %i levels, roots included, expect %d tokens", (nodes, levels, tokens) => {
    const found = bestFirst(acceptance, nodes - 1, levels - 1);
    expect(1 + found.reduce((sum, { reach }) => sum + reach, 0)).toBeCloseTo(tokens, 5);
  });

  test("is as good as the dynamic programme for any acceptance", () => {
    // Most expected tokens of n nodes on `levels` levels whose root has children from rank k on.
    const best = (row: number[], nodes: number, levels: number) => {
      const known = new Map<string, number>();
      const below = (n: number, l: number, k: number): number => {
        if (n === 0 || l === 0 || k >= row.length) return 0;
        const key = [n, l, k].join();
        const saved = known.get(key);
        if (saved !== undefined) return saved;
        let most = 0;
        for (let mine = 1; mine <= n; mine++)
          most = Math.max(most, row[k] * (1 + below(mine - 1, l - 1, 0)) + below(n - mine, l, k + 1));
        known.set(key, most);
        return most;
      };
      return below(nodes, levels, 0);
    };
    for (let seed = 0; seed < 20; seed++) {
      const next = uniform(seed);
      const raw = Array.from({ length: 5 }, () => next()).sort((a, b) => b - a);
      const scale = (0.5 + 0.5 * next()) / raw.reduce((sum, a) => sum + a);
      const row = raw.map((a) => a * scale);
      for (const [nodes, levels] of [
        [5, 9],
        [14, 3],
        [20, 20],
      ]) {
        const found = bestFirst([row], nodes, levels).reduce((sum, { reach }) => sum + reach, 0);
        expect(found).toBeCloseTo(best(row, nodes, levels), 10);
      }
    }
  });

  test("its paths are a template", () => {
    const found = bestFirst(
      [
        [0.7, 0.2],
        [0.5, 0.4],
      ],
      40,
      4,
    );
    expect(template(found.map(({ path }) => path)).parent).toHaveLength(found.length + 1);
  });

  test.each([[[]], [[[]]], [[[0.5, 0.6]]], [[[0.9, 0.2]]], [[[Number.NaN]]]])("refused: %j", (rows) => {
    expect(() => bestFirst(rows, 4, 4)).toThrow(expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }));
  });
});
