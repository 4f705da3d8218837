// The worked tree, and everything that is no tree.
import { describe, expect, test } from "vitest";
import { fill, template } from "../../../lib/tree/build.ts";
import { Law } from "../../../lib/tree/law.ts";
import { maxTreeNodes, TokenTree, type TreeParts } from "../../../lib/tree/token-tree.ts";

describe("the worked tree", () => {
  const shape = template([[0], [1], [0, 0], [0, 1], [1, 0], [0, 0, 0]]);
  const tree = fill(7, shape, (token, rank) => 10 * token + rank);

  test("parents, depths, positions", () => {
    expect([...tree.parent]).toEqual([-1, 0, 0, 1, 1, 2, 3]);
    expect([...tree.depth]).toEqual([0, 1, 1, 2, 2, 2, 3]);
    expect([...tree.positions(10)]).toEqual([10, 11, 11, 12, 12, 12, 13]);
    expect([...tree.token]).toEqual([7, 70, 71, 700, 701, 710, 7000]);
  });

  test("ancestor masks", () => {
    expect(tree.mask()).toEqual({ words: 1, bits: Uint32Array.of(1, 3, 5, 11, 19, 37, 75) });
  });

  test("leaves and depth-first order", () => {
    expect(tree.leafPaths()).toEqual([
      [0, 1, 4],
      [0, 2, 5],
      [0, 1, 3, 6],
    ]);
    const { order, end } = tree.depthFirst();
    expect([...order]).toEqual([0, 1, 3, 6, 4, 2, 5]);
    expect([...end]).toEqual([7, 5, 4, 4, 5, 7, 7]);
  });

  test("children and paths", () => {
    expect([...tree.children(1)]).toEqual([3, 4]);
    expect([...tree.children(6)]).toEqual([]);
    expect(tree.child(2, 710)).toBe(5);
    expect(tree.child(2, 711)).toBe(-1);
    expect(tree.path(6)).toEqual([1, 3, 6]);
    expect(tree.path(0)).toEqual([]);
  });
});

test("masks of more than a word agree with paths", () => {
  const parent = Array.from({ length: 100 }, (_, i) => (i === 0 ? -1 : Math.floor((i * 7919) % i)));
  const tree = new TokenTree({ token: parent.map((_, i) => i), parent });
  const { words, bits } = tree.mask();
  expect(words).toBe(4);
  for (let i = 0; i < tree.size; i++) {
    const ancestors = new Set([0, ...tree.path(i)]);
    for (let j = 0; j < tree.size; j++)
      expect((bits[i * words + (j >> 5)] >>> (j & 31)) & 1).toBe(ancestors.has(j) ? 1 : 0);
  }
});

const law = Law.of([1, 2], [1, 3]);
test.each<[string, TreeParts]>([
  ["1 to 256 nodes", { token: [], parent: [] }],
  ["1 to 256 nodes", { token: Array(maxTreeNodes + 1).fill(1), parent: [] }],
  ["parent", { token: [1, 2], parent: [-1] }],
  ["reach", { token: [1, 2], parent: [-1, 0], reach: [1] }],
  ["parent[0]", { token: [1], parent: [0] }],
  ["parent[1]", { token: [1, 2], parent: [-1, 1] }],
  ["parent[1]", { token: [1, 2], parent: [-1, -1] }],
  ["parent[1]", { token: [1, 2], parent: [-1, 0.5] }],
  ["parent[1]", { token: [1, 2], parent: [-1, Number.NaN] }],
  ["token[1]", { token: [1, 100], parent: [-1, 0] }],
  ["token[1]", { token: [1, -1], parent: [-1, 0] }],
  ["token[1]", { token: [1, 1.5], parent: [-1, 0] }],
  ["no sibling", { token: [1, 2, 2], parent: [-1, 0, 0] }],
  ["reach[1]", { token: [1, 2], parent: [-1, 0], reach: [0.5, 0.6] }],
  ["reach[1]", { token: [1, 2], parent: [-1, 0], reach: [1, Number.NaN] }],
  ["reach[0]", { token: [1, 2], parent: [-1, 0], reach: [1.5, 0] }],
  ["draws[0].node", { token: [9, 1], parent: [-1, 0], draws: [{ node: 2, law }] }],
  ["draws[0].law", { token: [9, 3], parent: [-1, 0], draws: [{ node: 1, law }] }],
  ["none for node 2", { token: [9, 1, 2], parent: [-1, 0, 0], draws: [{ node: 1, law }] }],
])("refused: %s", (message, parts) => {
  expect(() => new TokenTree(parts, 100)).toThrow(
    expect.objectContaining({ code: "OUTRIDER_ARGUMENT", message: expect.stringContaining(message) }),
  );
});

test("a reach as large as the parent's survives rounding", () => {
  for (const reach of [0.1, 0.3, 0.7, 0.9]) {
    const tree = new TokenTree({ token: [1, 2, 3], parent: [-1, 0, 1], reach: [1, reach, reach] });
    expect(tree.reach[2]).toBe(Math.fround(reach));
  }
});

describe("laws", () => {
  test.each<[string, number[], number[]]>([
    ["ids[1]", [2, 1], [1, 1]],
    ["ids[1]", [2, 2], [1, 1]],
    ["ids[0]", [-1], [1]],
    ["weights[0]", [1], [-1]],
    ["weights[0]", [1], [Number.NaN]],
    ["weights[0]", [1], [Number.POSITIVE_INFINITY]],
    ["weights", [1], [0]],
    ["weights", [], []],
    ["weights", [1], []],
  ])("refused: %s", (message, ids, weights) => {
    expect(() => Law.of(ids, weights)).toThrow(expect.objectContaining({ message: expect.stringContaining(message) }));
  });

  test("support, probabilities, the likeliest, and what is left", () => {
    const made = Law.of([1, 4, 6], [3, 0, 1]);
    expect([...made.ids]).toEqual([1, 6]);
    expect([0, 1, 4, 6, 7].map((id) => made.at(id))).toEqual([0, 0.75, 0, 0.25, 0]);
    expect(made.argmax()).toBe(1);
    expect(made.without(1)).toEqual(Law.certain(6));
    expect(Law.certain(6).without(6)).toBeUndefined();
  });
});
