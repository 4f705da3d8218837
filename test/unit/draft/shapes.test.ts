// Rules of growth against their definitions, on draft models small enough to enumerate.
import { describe, expect, test } from "vitest";
import { GreedyApart } from "../../../lib/draft/per-model.ts";
import { BeamShape, conditionedValue } from "../../../lib/draft/shapes/beam.ts";
import { ConfidenceShape } from "../../../lib/draft/shapes/confidence.ts";
import { ConstantShape } from "../../../lib/draft/shapes/constant.ts";
import { DynamicShape } from "../../../lib/draft/shapes/dynamic.ts";
import { type DraftShape, shapeMaker } from "../../../lib/draft/shapes/options.ts";
import { independentDraws, PathsShape } from "../../../lib/draft/shapes/paths.ts";
import { RankAcceptance } from "../../../lib/draft/shapes/rank-acceptance.ts";
import { drawnOf, largest } from "../../../lib/draft/shapes/sketch.ts";
import { StaticShape } from "../../../lib/draft/shapes/static.ts";
import { bestFirst } from "../../../lib/tree/best-first.ts";
import { Law } from "../../../lib/tree/law.ts";
import { fits } from "../../support/chi-square.ts";
import { greedy } from "../../support/eager.ts";
import { code } from "../../support/errors.ts";
import { uniform } from "../../support/random.ts";
import { drawsOf, growToy, type ToyTree } from "../../support/toy-growth.ts";
import { toyModel } from "../../support/toy-models.ts";

/** Greedy texts, and sampled ones with noise of their own. */
const noises: [string, (seed: number) => (() => number) | undefined][] = [
  ["greedy", () => undefined],
  ["sampled", (seed) => uniform(1000 + seed)],
];
const sorted = (paths: readonly string[]) => [...paths].sort();

describe("shares", () => {
  test("of a greedy text they are the law itself", () => {
    const law = toyModel(7, 3)([0]);
    for (const { token, share } of drawsOf(law, 4)) expect(share).toBeCloseTo(law.at(token), 12);
  });

  test("under noise they fall from draw to draw and sum up to at most 1", () => {
    for (let seed = 0; seed < 200; seed++) {
      const shares = drawsOf(toyModel(9, seed)([0]), 1 + (seed % 9), uniform(seed)).map(({ share }) => share);
      expect(shares.every((share, i) => share > 0 && share <= (shares[i - 1] ?? 1))).toBe(true);
      expect(shares.reduce((a, b) => a + b)).toBeLessThanOrEqual(1 + 1e-12);
    }
  });

  test("they say how far a draw is ahead: the text takes the first as often as they say, or nearly", () => {
    // The model's law is the draft's with noise on its logits; both draw with the same Gumbel variables.
    const counts = new Map<number, { right: number; said: number; all: number }>();
    const next = uniform(8);
    for (let i = 0; i < 20000; i++) {
      const law = toyModel(8, i % 50, 8, 0)([0]);
      const gumbel = Array.from(law.ids, () => -Math.log(-Math.log(next())));
      const value = Array.from(law.mass, (q, k) => Math.log(q) + gumbel[k]);
      const target = value.map((v) => v + 1.2 * (next() + next() - 1));
      const order = Array.from(value.keys())
        .sort((a, b) => value[b] - value[a])
        .slice(0, 3);
      const drawn = drawnOf(order, order.map((k) => Math.log(law.mass[k])), order.map((k) => value[k])); // biome-ignore format: a line
      const bin = Math.min(4, Math.floor(5 * drawn[0].share));
      const count = counts.get(bin) ?? { right: 0, said: 0, all: 0 };
      count.all += 1;
      count.right += target.indexOf(Math.max(...target)) === drawn[0].token ? 1 : 0;
      counts.set(bin, count);
    }
    const rates = [...counts.entries()].sort(([a], [b]) => a - b).map(([, { right, all }]) => right / all);
    expect(rates.length).toBeGreaterThan(3);
    expect(rates.every((rate, i) => i === 0 || rate > rates[i - 1])).toBe(true);
  });

  test("no draw, no share; the largest nodes keep their parents", () => {
    expect(drawnOf([-1, -1], [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY], [0, 0])).toEqual([]);
    expect(largest([1, 0.5, 0.5, 0.2, 0.5], 3)).toEqual([0, 1, 2, 4]);
    expect(largest([1], 3)).toEqual([0]);
  });
});

describe.each(noises)("constant branching, %s", (_, noise) => {
  test("every node has the first draws of its level", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { paths, behind } = growToy(new ConstantShape([3, 1, 2]), toyModel(6, seed, 8, 0), { noise: noise(seed) });
      const wanted: string[] = [];
      const visit = (path: number[]) => {
        for (const { token } of behind(path).slice(0, [3, 1, 2][path.length] ?? 0)) {
          wanted.push([...path, token].join());
          visit([...path, token]);
        }
      };
      visit([]);
      expect(wanted.length).toBe(3 + 3 + 6);
      expect(sorted(paths)).toEqual(sorted(wanted));
    }
  });
});

describe("a stochastic beam", () => {
  test("values are conditioned on the largest sibling being the parent", () => {
    const next = uniform(4);
    for (let i = 0; i < 300; i++) {
      const [parent, value] = [4 * next() - 2, 4 * next() - 3];
      const top = value + 2 * next();
      const plain = -Math.log(Math.exp(-parent) - Math.exp(-top) + Math.exp(-value));
      expect(Math.abs(conditionedValue(parent, top, value) - plain)).toBeLessThan(1e-12 * Math.exp(4));
    }
    for (const parent of [-1e4, -800, 0, 25, 900])
      for (const top of [-1e4, -30, 0, 22, 900]) {
        expect(conditionedValue(parent, top, top)).toBe(parent);
        let before = parent;
        for (const behind of [1e-12, 1e-3, 1, 50, 1e5]) {
          const found = conditionedValue(parent, top, top - behind);
          expect(Number.isFinite(found) && found <= before).toBe(true);
          before = found;
        }
      }
  });

  test.each([1, 2, 3])("its %d leaves are a draw of sequences without replacement (chi-square)", (width) => {
    const draft = toyModel(3, 11, 8, 0);
    const law = new Map<string, number>();
    const first = draft([0]);
    for (const a of first.ids)
      for (const b of draft([0, a]).ids) law.set(`${a},${b}`, first.at(a) * draft([0, a]).at(b));
    let ordered = new Map([["", 1]]);
    for (let i = 0; i < width; i++) {
      const longer = new Map<string, number>();
      for (const [key, probability] of ordered) {
        const taken = key === "" ? [] : key.split(" ");
        const left = 1 - taken.reduce((sum, path) => sum + (law.get(path) as number), 0);
        for (const [path, q] of law)
          if (!taken.includes(path)) longer.set([...taken, path].join(" "), (probability * q) / left);
      }
      ordered = longer;
    }
    const noise = uniform(31);
    const counts = new Map<string, number>();
    const wrong = new Map<string, number>(); // the same leaves with the order of the last level turned round
    for (let i = 0; i < 30000; i++) {
      const { paths } = growToy(new BeamShape(width, 2), draft, { noise });
      const leaves = paths.filter((path) => path.includes(","));
      expect(leaves.length).toBe(width);
      for (const [of, key] of [[counts, leaves.join(" ")], [wrong, leaves.reverse().join(" ")]] as const) of.set(key, (of.get(key) ?? 0) + 1); // biome-ignore format: a line
    }
    expect(fits(counts, ordered)).toBe(true);
    if (width > 1) expect(fits(wrong, ordered)).toBe(false);
  });

  test("a level has the width, and the chain of first draws is in it; a greedy one is beam search", () => {
    for (let seed = 0; seed < 20; seed++) {
      for (const [, noise] of noises) {
        const { paths, behind } = growToy(new BeamShape(3, 5), toyModel(5, seed, 8, 0), { noise: noise(seed) });
        expect(paths.length).toBe(15);
        const chain: number[] = [];
        for (let depth = 0; depth < 5; depth++) {
          chain.push(behind(chain)[0].token);
          expect(paths).toContain(chain.join());
        }
      }
    }
  });
});

describe("independent chains", () => {
  test("draws without replacement become independent ones (chi-square)", () => {
    const law = Law.of([0, 1, 2, 3], [0.5, 0.3, 0.15, 0.05]);
    const joint = new Map<string, number>();
    for (const a of law.ids)
      for (const b of law.ids) for (const c of law.ids) joint.set([a, b, c].join(), law.at(a) * law.at(b) * law.at(c));
    const noise = uniform(21);
    const coin = uniform(22);
    const counts = new Map<string, number>();
    for (let i = 0; i < 40000; i++) {
      const drawn = drawsOf(law, 3, noise);
      const key = independentDraws(drawn, 3, coin).map((at) => drawn[at].token).join(); // biome-ignore format: a line
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(fits(counts, joint)).toBe(true);
    const different = new Map([...joint].filter(([key]) => new Set(key.split(",")).size === 3));
    expect(fits(counts, different)).toBe(false);
  });

  test("chains are independent sequences (chi-square), and equal beginnings are one node", () => {
    const draft = toyModel(3, 5, 8, 0);
    const law = new Map<string, number>();
    for (const a of draft([0]).ids)
      for (const b of draft([0, a]).ids) law.set(`${a},${b}`, draft([0]).at(a) * draft([0, a]).at(b));
    // Of two chains: both in one leaf, or in two.
    const pairs = new Map<string, number>();
    for (const [x, p] of law)
      for (const [y, q] of law) {
        const key = sorted([...new Set([x, y])]).join(" ");
        pairs.set(key, (pairs.get(key) ?? 0) + p * q);
      }
    const [noise, coin] = [uniform(41), uniform(42)];
    const counts = new Map<string, number>();
    for (let i = 0; i < 30000; i++) {
      const { paths } = growToy(new PathsShape(2, 2), draft, { noise, coin });
      expect(new Set(paths).size).toBe(paths.length);
      const key = sorted(paths.filter((path) => path.includes(","))).join(" ");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(fits(counts, pairs)).toBe(true);
  });

  test("a law of one token, and no draw at all", () => {
    const drawn = drawsOf(Law.certain(4), 5);
    expect(independentDraws(drawn, 3, () => 0.999999999)).toEqual([0, 0, 0]);
    expect(independentDraws([], 3, () => 0.5)).toEqual([]);
  });
});

describe.each(noises)("DySpec, %s", (_, noise) => {
  /** The heap of arXiv:2410.11744, one slot after the other. */
  function heap(behind: ToyTree["behind"], nodes: number, depth: number, threshold: number): string[] {
    const slots = [{ value: 1, above: [] as number[], rank: 0 }];
    const found: string[] = [];
    while (found.length < nodes && slots.length > 0) {
      const best = slots.reduce((a, slot, i) => (slot.value > slots[a].value ? i : a), 0);
      const [{ value, above, rank }] = slots.splice(best, 1);
      const drawn = behind(above);
      if (value < threshold || rank >= Math.min(drawn.length, 16)) continue;
      const before = drawn.slice(0, rank).reduce((sum, { share }) => sum + share, 0);
      const residual = Math.min(1, drawn[rank].share / (1 - before));
      const path = [...above, drawn[rank].token];
      found.push(path.join());
      if (path.length < depth) slots.push({ value: value * residual, above: path, rank: 0 });
      slots.push({ value: value * (1 - residual), above, rank: rank + 1 });
    }
    return found;
  }

  test("level by level it grows what the heap grows", () => {
    let [rows, all] = [0, 0];
    for (let seed = 0; seed < 60; seed++) {
      const [nodes, depth, threshold] = [1 + (seed % 23), 1 + (seed % 6), seed % 3 === 0 ? 0.05 : 0];
      const draft = toyModel(7, seed, 8, 0.1);
      const found = growToy(new DynamicShape(nodes, depth, threshold), draft, { noise: noise(seed) });
      expect(sorted(found.paths)).toEqual(sorted(heap(found.behind, nodes, depth, threshold)));
      rows += found.rows;
      all += found.sketch.size;
    }
    expect(rows).toBeLessThan(0.7 * all); // what cannot be among the best is not asked for
  });

  test("the budget is less than the shape", () => {
    const found = growToy(new DynamicShape(40, 6, 0), toyModel(7, 3), { nodes: 5, depth: 3, noise: noise(3) });
    expect(sorted(found.paths)).toEqual(sorted(heap(found.behind, 5, 3, 0)));
  });
});

describe.each(noises)("EAGLE-2, %s", (_, noise) => {
  test("the rerank is that of everything that was offered, sorted", () => {
    for (let seed = 0; seed < 40; seed++) {
      const [width, nodes, depth] = [1 + (seed % 4), 1 + (seed % 17), 1 + (seed % 5)];
      const { paths, behind } = growToy(new ConfidenceShape(width, nodes, depth), toyModel(6, seed, 8, 0), {
        noise: noise(seed),
      });
      type Node = { path: number[]; score: number };
      const offered: Node[] = [];
      let frontier: Node[] = [{ path: [], score: 0 }];
      for (let level = 0; level < depth; level++) {
        const fresh = frontier.flatMap(
          ({ path, score }) =>
          behind(path).slice(0, width).map(({ token, share }) => ({ path: [...path, token], score: score + Math.log(share) })), // biome-ignore format: a line
        );
        offered.push(...fresh);
        frontier = [...fresh].sort((a, b) => b.score - a.score).slice(0, width);
      }
      const wanted = [...offered].sort((a, b) => b.score - a.score).slice(0, nodes);
      expect(sorted(paths)).toEqual(sorted(wanted.map(({ path }) => path.join())));
    }
  });

  test("with room for all it is the likeliest nodes of the whole tree", () => {
    const draft = toyModel(3, 9, 8, 0);
    const { paths, behind } = growToy(new ConfidenceShape(27, 10, 3), draft, { noise: noise(9) });
    const whole: { path: number[]; score: number }[] = [];
    const visit = (path: number[], score: number) => {
      if (path.length === 3) return;
      for (const { token, share } of behind(path)) {
        whole.push({ path: [...path, token], score: score * share });
        visit([...path, token], score * share);
      }
    };
    visit([], 1);
    expect(whole.length).toBe(3 + 9 + 27);
    const wanted = whole.sort((a, b) => b.score - a.score).slice(0, 10);
    expect(sorted(paths)).toEqual(sorted(wanted.map(({ path }) => path.join())));
  });
});

describe("a learnt template", () => {
  test("estimates fall, sum up to at most 1 and come to what was seen", () => {
    const acceptance = new RankAcceptance(4);
    const valid = (estimates: number[]) => {
      expect(estimates.every((a, k) => a >= 0 && a <= (estimates[k - 1] ?? 1))).toBe(true);
      expect(estimates.reduce((a, b) => a + b)).toBeLessThanOrEqual(1 + 1e-12);
    };
    valid(acceptance.estimates);
    const next = uniform(2);
    for (let i = 0; i < 5000; i++) {
      const u = next();
      acceptance.observe(u < 0.5 ? 0 : u < 0.6 ? 1 : u < 0.9 ? 2 : -1); // the third is taken more often than the second
      if (i % 500 === 0) valid(acceptance.estimates);
    }
    const [a, b, c, d] = acceptance.estimates;
    expect(Math.abs(a - 0.5)).toBeLessThan(0.08);
    expect(Math.abs(b - 0.2)).toBeLessThan(0.06);
    expect(c).toBe(b);
    expect(d).toBeLessThan(0.02);
  });

  test.each(noises)("its tree has the ranks of the best-first shape, %s", (_, noise) => {
    const shape = new StaticShape(14, 4);
    const learnt = new RankAcceptance(8);
    const { observe } = growToy(shape, toyModel(9, 1)).growth;
    expect(observe).toBeDefined();
    for (let seed = 0; seed < 12; seed++) {
      const { paths, behind, growth, sketch } = growToy(shape, toyModel(9, seed, 8, 0), { noise: noise(seed) });
      const wanted = bestFirst([learnt.estimates], 14, 4).map(({ path, reach }) => {
        const tokens: number[] = [];
        for (const rank of path) tokens.push(behind(tokens)[rank].token);
        return { path: tokens.join(), reach };
      });
      expect(sorted(paths)).toEqual(sorted(wanted.map(({ path }) => path)));
      for (const { path, reach } of wanted) expect(sketch.reach[1 + paths.indexOf(path)]).toBeCloseTo(reach, 12);
      for (const rank of [0, 0, 0, seed % 3, -1]) for (const each of [growth, { observe: (r: number) => learnt.observe(r) }]) each.observe?.(rank); // biome-ignore format: a line
    }
  });

  test("ranks that a law does not have are left out with what hangs on them", () => {
    const { paths } = growToy(new StaticShape(30, 6), () => Law.of([1, 2], [3, 1]));
    expect(paths.every((path) => path.split(",").every((token) => token === "1" || token === "2"))).toBe(true);
    expect(paths.length).toBeGreaterThan(6);
  });
});

describe("options", () => {
  test("every kind makes shapes of its depth, for greedy and sampled texts apart", () => {
    const all: [DraftShape, number][] = [
      [{ kind: "constant", branching: [2, 2, 1] }, 3],
      [{ kind: "beam", width: 4, depth: 6 }, 6],
      [{ kind: "paths", count: 3, depth: 5 }, 5],
      [{ kind: "dynamic", nodes: 12, depth: 7, threshold: 0.01 }, 7],
      [{ kind: "static", nodes: 12, depth: 4 }, 4],
      [{ kind: "confidence", width: 4, nodes: 20, depth: 8 }, 8],
    ];
    for (const [shape, depth] of all) {
      const shapes = new GreedyApart(shapeMaker(shape) as () => StaticShape);
      expect(shapes.of(greedy).depth).toBe(depth);
      expect(shapes.of(greedy)).toBe(shapes.of(greedy));
      expect(shapes.of({ ...greedy, temperature: 1 })).not.toBe(shapes.of(greedy));
    }
    expect(shapeMaker("chain")).toBeUndefined();
  });

  test.each<[unknown, RegExp]>([
    [
      "tree",
      /"chain" or an object with a kind: constant, beam, paths, dynamic, static, confidence for shape, received "tree"/,
    ],
    [null, /for shape, received null/],
    [{}, /one of constant, .* for shape.kind, received undefined/],
    [{ kind: "toString" }, /for shape.kind, received "toString"/],
    [{ kind: "constant", branching: [] }, /an array of 1 to 64 integers for shape.branching/],
    [{ kind: "constant", branching: [2, 0] }, /an integer from 1 to 63 for shape.branching\[1\], received 0/],
    [
      { kind: "constant", branching: [2, 2, 2, 2, 2, 2, 2, 2] },
      /at most 255 nodes in all for shape.branching, received 510/,
    ],
    [{ kind: "constant", branching: "22" }, /for shape.branching, received "22"/],
    [{ kind: "beam", width: 64, depth: 1 }, /an integer from 1 to 63 for shape.width/],
    [{ kind: "beam", width: 32, depth: 8 }, /at most 255 nodes .* received 256/],
    [{ kind: "beam", width: 2 }, /for shape.depth, received undefined/],
    [{ kind: "paths", count: 1.5, depth: 2 }, /for shape.count, received 1.5/],
    [{ kind: "dynamic", nodes: 256, depth: 4 }, /an integer from 1 to 255 for shape.nodes/],
    [{ kind: "dynamic", nodes: 8, depth: 4, threshold: Number.NaN }, /from 0 to 1 for shape.threshold/],
    [{ kind: "static", nodes: 8, depth: 65 }, /for shape.depth, received 65/],
    [
      { kind: "confidence", width: 4, nodes: 8, depth: 4, count: 1 },
      /only kind, width, nodes, depth for shape, received "count"/,
    ],
  ])("%j is refused", (shape, message) => {
    expect(() => shapeMaker(shape as DraftShape)).toThrow(code("OUTRIDER_ARGUMENT", message));
  });
});
