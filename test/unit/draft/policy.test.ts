// How much is drafted: acceptance that is learnt, costs that are measured, and the cut between them.
import { describe, expect, test, vi } from "vitest";
import { Acceptance } from "../../../lib/draft/acceptance.ts";
import { Account } from "../../../lib/draft/account.ts";
import { CostCurve } from "../../../lib/draft/cost-curve.ts";
import type { DraftCosts, Drafter } from "../../../lib/draft/drafter.ts";
import { Drafting } from "../../../lib/draft/drafting.ts";
import { Experience } from "../../../lib/draft/experience.ts";
import { choose } from "../../../lib/draft/policy.ts";
import { Adjacency, recycle } from "../../../lib/draft/recycle.ts";
import { rising } from "../../../lib/draft/rising.ts";
import { Trust } from "../../../lib/draft/trust.ts";
import { chain } from "../../../lib/tree/build.ts";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { contextOf, costsOf, greedy } from "../../support/eager.ts";
import { uniform } from "../../support/random.ts";

describe("acceptance", () => {
  test("learns what a confidence is worth, and keeps bins in order", () => {
    const acceptance = new Acceptance();
    const next = uniform(1);
    const truth = (confidence: number) => confidence / 2;
    for (let i = 0; i < 4000; i++) {
      const confidence = next();
      const tree = chain(1, [2], [confidence]);
      acceptance.observe("a", tree, [next() < truth(confidence) ? 2 : 3]);
    }
    for (const [low, high] of [
      [0.3, 0.45],
      [0.6, 0.7],
      [0.9, 1],
    ])
      expect(Math.abs(acceptance.estimate("a", (low + high) / 2) - truth((low + high) / 2))).toBeLessThan(0.12);
    expect(acceptance.estimate("b", 0.95)).toBeCloseTo(0.95, 12);
  });

  test("calibrates along paths, and siblings share what there is", () => {
    const acceptance = new Acceptance();
    const tree = new TokenTree({ token: [1, 2, 3, 4], parent: [-1, 0, 0, 1], reach: [1, 0.95, 0.95, 0.475] });
    const { reach, source } = acceptance.calibrate("a", tree, 2);
    expect(reach[1]).toBeCloseTo(0.95, 6);
    expect(reach[2]).toBeCloseTo(0.05, 6);
    expect(reach[3]).toBeCloseTo(0.95 * acceptance.estimate("a", 0.5), 6);
    expect([...source]).toEqual([0, 2, 2, 2]);
  });

  test("looks no further than the first token that differs", () => {
    const acceptance = new Acceptance();
    for (let i = 0; i < 100; i++) acceptance.observe("a", chain(1, [2, 3], [0.95, 0.95 * 0.5]), [9, 3]);
    expect(acceptance.estimate("a", 0.95)).toBeLessThan(0.1);
    expect(acceptance.estimate("a", 0.5)).toBeCloseTo(0.525, 6); // never reached: as before
  });

  test("says how right a proposal was against what was expected, and trusts a drafter less that is wrong in this text", () => {
    const acceptance = new Acceptance();
    const trust = new Trust();
    const tree = chain(1, [2, 3, 4], [0.95, 0.95 ** 2, 0.95 ** 3]);
    const usual = acceptance.estimate("a", 0.95);
    const { right, expected } = acceptance.observe("a", tree, [2, 9]);
    expect(right).toBe(1);
    expect(expected).toBeCloseTo(2 * usual, 1); // the second by what the first has taught
    expect(acceptance.observe("a", tree, [])).toEqual({ right: 0, expected: 0 });
    expect(trust.factor).toBe(1);
    trust.note({ right: 1, expected: 0.95 });
    expect(trust.factor).toBe(1); // never more than experience says
    for (let i = 0; i < 20; i++) trust.note({ right: 0, expected: 0.9 });
    expect(trust.factor).toBeGreaterThan(0.1);
    expect(trust.factor).toBeLessThan(0.35);
    const { reach } = acceptance.calibrate("b", tree, 1, 0.5);
    expect([...reach].map((one) => one.toFixed(4))).toEqual([0, 1, 2, 3].map((n) => (0.475 ** n).toFixed(4)));
    for (let i = 0; i < 60; i++) trust.note({ right: 0.9, expected: 0.9 });
    expect(trust.factor).toBeGreaterThan(0.8);
  });

  test("values that never fall", () => {
    expect([...rising([1, 3, 2, 4], [1, 1, 1, 1])]).toEqual([1, 2.5, 2.5, 4]);
    expect([...rising([3, 1], [1, 3])]).toEqual([1.5, 1.5]);
    expect([...rising([], [])]).toEqual([]);
  });
});

describe("cost curve", () => {
  test("measured points, lines between them, the prior slope outside", () => {
    const curve = new CostCurve();
    expect(curve.seconds(1)).toBeUndefined();
    curve.observe(1, 0.004);
    expect(curve.seconds(5)).toBeCloseTo(0.008, 12);
    curve.observe(5, 0.006);
    expect(curve.seconds(3)).toBeCloseTo(0.005, 12);
    expect(curve.seconds(5)).toBeCloseTo(0.006, 12);
    expect(curve.seconds(9)).toBeCloseTo(0.006 + 4 * (0.006 / 2) * 0.25, 12);
    // The first step of a size that is slow counts for a quarter of what it is slower, which is a quarter at most.
    const slow = new CostCurve();
    slow.observe(1, 0.004);
    slow.observe(5, 0.012);
    expect(slow.seconds(5)).toBeCloseTo(0.0085, 12);
    for (let i = 0; i < 200; i++) slow.observe(5, 0.012);
    expect(slow.seconds(5)).toBeCloseTo(0.012, 8);
  });

  test("a size that was slow by chance counts less and less, until it is measured again", () => {
    const curve = new CostCurve();
    const line = (rows: number) => 1 + 0.2 * (rows - 1);
    for (let i = 0; i < 30; i++) for (const rows of [1, 2, 3, 4, 5]) curve.observe(rows, line(rows));
    for (let i = 0; i < 30; i++) curve.observe(8, 1.8 * line(8));
    expect(curve.seconds(8)).toBeGreaterThan(1.6 * line(8));
    for (let i = 0; i < 100; i++) for (const rows of [2, 3, 4, 5]) curve.observe(rows, line(rows));
    expect(curve.seconds(8)).toBeLessThan(1.2 * line(8));
    expect(curve.seconds(4)).toBeCloseTo(line(4), 1);
    curve.observe(8, 1.8 * line(8));
    expect(curve.seconds(8)).toBeGreaterThan(1.6 * line(8));
  });

  test("never falls, and one slow step is no measure", () => {
    const curve = new CostCurve();
    for (let i = 0; i < 30; i++) curve.observe(2, 0.01);
    for (let i = 0; i < 30; i++) curve.observe(3, 0.008);
    expect(curve.seconds(3)).toBe(curve.seconds(2));
    curve.observe(2, 10);
    expect(curve.seconds(2)).toBeLessThan(0.0101);
  });

  test("a row more than pays is looked at where there is one", () => {
    const costs: DraftCosts = { token: 1, tree: (rows) => (rows <= 3 ? 1 : 100) };
    const tree = chain(1, [2, 3, 4], [0.9, 0.8, 0.7]);
    const sizes = [0, 1, 5].map((beyond) => choose([tree], 64, costs, beyond).tree?.size);
    expect(sizes).toEqual([3, 4, 4]);
    expect(choose([tree], 3, costs, 1).tree?.size).toBe(3);
    expect(choose([tree], 64, { token: 1, tree: () => 9 }, 1).tree).toBeUndefined();
  });

  test("stalls now and then hardly count, a machine that has become slower does", () => {
    const curve = new CostCurve();
    for (let i = 0; i < 200; i++) {
      curve.observe(5, i % 8 === 7 ? 6 : 1);
      expect(curve.seconds(5)).toBeLessThan(1.06);
    }
    for (let i = 0; i < 60; i++) curve.observe(5, 2);
    expect(curve.seconds(5)).toBeGreaterThan(1.9);
    for (let i = 0; i < 8; i++) curve.observe(5, 1); // and sooner one that has become faster
    expect(curve.seconds(5)).toBeLessThan(1.1);
  });
});

describe("experience", () => {
  test("a slow first measurement is made good, and so is a stall", () => {
    const experience = new Experience();
    expect(experience.plain).toBeUndefined();
    experience.observePlain(1, 0.02, 0.005); // cold
    experience.observePlain(2, 0.004, 0.0002);
    expect(experience.plain).toBeCloseTo(0.0021, 9); // at once: the first was of code and memory that nobody had used
    expect(experience.curve.seconds(1)).toBe(0.002);
    for (let i = 0; i < 60; i++) experience.observePlain(2, 0.005, 0.0002);
    expect(experience.plain).toBeCloseTo(0.0026, 4); // and later by and by
    expect(experience.curve.seconds(1)).toBeCloseTo(0.0025, 4);
    for (let i = 0; i < 60; i++) experience.observePlain(2, 0.004, 0.0002);
    expect(experience.plain).toBeLessThan(0.0025);
    const { host } = experience;
    experience.observeTree(4, 0.003, 2);
    expect(experience.host).toBeLessThan(1.2 * host);
    experience.observeTree(4, 0.003, undefined); // others used the engine: nothing is known of the host
    expect(experience.host).toBeLessThan(1.2 * host);
  });

  test("a first step of many rows that is slow does not count more than twice its neighbours", () => {
    const experience = new Experience();
    experience.observePlain(1, 0.002, 0);
    experience.observeTree(4, 1, 0);
    expect(experience.curve.seconds(4)).toBeLessThanOrEqual(2 * 0.002 * 1.75 + 1e-12);
  });
});

describe("drafting", () => {
  const fixed = (tokens: number[], seconds = 0): Drafter => ({
    name: "fixed",
    start: () => ({
      propose: () => {
        const until = performance.now() + 1e3 * seconds;
        while (performance.now() < until);
        return chain(1, tokens);
      },
      observe() {},
    }),
  });
  const outcome = (tokens: number[]) => ({
    tokens: Int32Array.from(tokens),
    rows: { token: Int32Array.of(1), parent: Int32Array.of(-1) },
  });
  /** Costs that are known; in seconds, what a drafter takes is nothing beside them. */
  const known = (token = 1) => {
    const experience = new Experience();
    for (let i = 0; i < 30; i++) experience.observePlain(1, token, 0);
    for (let rows = 1; rows <= 64; rows++)
      for (let i = 0; i < 30; i++) experience.observeTree(rows, token * (1 + 0.2 * (rows - 1)), 0);
    return experience;
  };
  /** Tokens that were evaluated in vain, and the share of texts steps that drafted, over 600 tokens of ones. */
  const follow = async (drafter: Drafter, experience: Experience) => {
    const drafting = new Drafting([drafter], experience, [1], contextOf(10), greedy);
    let [trees, asked] = [0, 0];
    for (let i = 0; i < 600; i++) {
      const before = drafting.stats.draftMs;
      const tree = await drafting.propose(100);
      if (drafting.stats.draftMs > before) asked += 1;
      if (tree) trees += 1;
      const right = tree?.token[1] === 1;
      drafting.observe(outcome(right ? [1, 1] : [1]), 0, tree, right ? [1] : []);
    }
    return { trees, asked, stats: drafting.stats };
  };

  test("what is never right is soon not evaluated any more, and probed now and then", async () => {
    const { trees, stats } = await follow(fixed([2]), known());
    expect(trees).toBeGreaterThan(3);
    expect(trees).toBeLessThan(40);
    expect(stats.accepted).toBe(0);
    expect(stats.meanAcceptedLength).toBe(1);
  });

  test("what is always right goes on, but for a plain step now and then", async () => {
    const { trees } = await follow(fixed([1]), known());
    expect(trees).toBeGreaterThan(560);
    expect(trees).toBeLessThan(600);
  });

  test("what drafters take beside a call is theirs, and the rest is the call's", async () => {
    const experience = new Experience();
    experience.observePlain(1, 1e-3, undefined);
    const drafting = new Drafting([fixed([2], 4e-3)], experience, [1], contextOf(10), greedy);
    await drafting.propose(100);
    drafting.time(0, 1, 1e-3, 6e-3 + drafting.stats.draftMs / 1e3);
    expect(drafting.stats.draftMs).toBeGreaterThan(3.9);
    expect(experience.host).toBeCloseTo(6e-3, 4);
    drafting.time(0, 1, 1e-3, 5e-3);
    expect(experience.host).toBeCloseTo(5e-3, 9); // of the first the shortest
    const before = drafting.stats.draftMs;
    await drafting.propose(100);
    drafting.time(0, 1, 1e-3, (drafting.stats.draftMs - before) / 2e3); // a drafter that worked beside the engine
    expect(experience.host).toBeCloseTo(5e-3, 9);
  });

  test("a token is not dearer than a longer step in a faster phase of the machine", async () => {
    const experience = new Experience();
    for (let i = 0; i < 30; i++) experience.observePlain(1, 8, 0);
    for (let i = 0; i < 30; i++) experience.observeTree(2, 5, 0);
    let costs: DraftCosts | undefined;
    const curious: Drafter = {
      name: "curious",
      start: () => ({
        propose(budget) {
          costs = budget.costs;
          return undefined;
        },
        observe() {},
      }),
    };
    await new Drafting([curious], experience, [1], contextOf(10), greedy).propose(100);
    expect(costs?.token).toBeLessThan(8);
    expect(costs?.token).toBeLessThanOrEqual(costs?.tree(2) ?? 0);
  });

  test("nobody is asked before it is known what a token takes, nor a token timed right after a slow drafter was at work", async () => {
    const experience = new Experience();
    let asked = 0;
    const noted: Drafter = {
      name: "noted",
      start: () => ({
        propose() {
          asked += 1;
          const until = performance.now() + 2;
          while (performance.now() < until);
          return undefined;
        },
        observe() {},
      }),
    };
    const drafting = new Drafting([noted], experience, [1], contextOf(10), greedy);
    const plain = (engine: number) =>
      drafting.plain({ root: 1, tokens: Int32Array.of(2), width: 0, engine, beside: undefined });
    await drafting.propose(100);
    expect(asked).toBe(0);
    plain(1e-3);
    drafting.end();
    expect(experience.plain).toBe(1e-3);
    const later = new Drafting([noted], experience, [1], contextOf(10), greedy);
    const told = (engine: number) => {
      later.plain({ root: 1, tokens: Int32Array.of(2), width: 0, engine, beside: undefined });
      return later.stats; // which tells what was not told yet
    };
    await later.propose(100);
    expect(asked).toBe(1);
    told(5e-4);
    expect(experience.plain).toBe(1e-3); // of the first the shortest, were it counted
    told(5e-4); // not asked before: it has overspent
    expect(experience.plain).toBe(5e-4);
  });

  test("a drafter that is slow at every step does not keep a token from being timed", async () => {
    const experience = known(1e-3);
    let turn = 0;
    const busy: Drafter = {
      name: "busy",
      start: () => ({
        propose() {
          const until = performance.now() + 0.3;
          while (performance.now() < until);
          turn += 1;
          return turn % 2 === 0 ? undefined : chain(1, [1, 1, 1], [1, 1, 1]);
        },
        observe() {},
      }),
    };
    const drafting = new Drafting([busy], experience, [1], contextOf(10), greedy);
    let timed = 0;
    const noted = vi.spyOn(experience, "observePlain").mockImplementation(() => {
      timed += 1;
    });
    for (let step = 0; step < 400; step++) {
      const tree = await drafting.propose(100);
      const tokens = Int32Array.of(1, 1, 1, 1);
      if (tree) {
        drafting.time(tree.size, 4, 1.2e-3, undefined);
        drafting.observe({ tokens, rows: tree }, 0, tree, [1, 2, 3]);
      } else drafting.plain({ root: 1, tokens: Int32Array.of(1), width: 0, engine: 1e-3, beside: undefined });
    }
    noted.mockRestore();
    expect(turn).toBeGreaterThan(300);
    expect(timed).toBeGreaterThan(1);
  });

  test("time that a proposal was waited for is owed in full, a pause is not", async () => {
    const rest = async (waits: boolean) => {
      const experience = known(1e-3);
      const work: Drafter = {
        name: "work",
        start: () => ({
          propose({ depth }) {
            if (depth !== 7) return undefined;
            if (waits) return new Promise((resolve) => setTimeout(() => resolve(undefined), 20));
            const until = performance.now() + 20;
            while (performance.now() < until);
            return undefined;
          },
          observe() {},
        }),
      };
      const drafting = new Drafting([work], experience, [1], contextOf(10), greedy);
      for (let i = 0; i < 6; i++) {
        await drafting.propose(i === 5 ? 7 : 100);
        drafting.plain({ root: 1, tokens: Int32Array.of(2), width: 0, engine: 1e-3, beside: undefined });
      }
      const before = drafting.due;
      drafting.end();
      return !before;
    };
    expect(await rest(true)).toBe(true);
    expect(await rest(false)).toBe(false);
  });

  test("a slow drafter is asked seldom where it brings nothing", async () => {
    const { asked } = await follow(fixed([2], 2e-3), known(1e-3));
    expect(asked).toBeLessThan(30);
  });
});

describe("account", () => {
  test("time by phase, and what was gained over plain decoding", () => {
    const account = new Account();
    expect(account.stats([], 1).measuredGain).toBeUndefined();
    account.time(0, 1, 1, 0.5);
    account.time(4, 3, 2, 0.5);
    // Four tokens in four seconds, where plain decoding takes one and a half for each.
    expect(account.stats([], 1.5)).toMatchObject({ plainMs: 1000, verifyMs: 2000, draftMs: 0, measuredGain: 1.5 });
    expect(account.stats([]).measuredGain).toBeUndefined();
    account.time(0, 1, 1, undefined); // others used the engine: no measure
    expect(account.stats([], 1.5).measuredGain).toBeUndefined();
  });
});

describe("choice", () => {
  const flat = costsOf(() => 1, 1);
  const steep = costsOf((rows) => rows, 1);
  const steps = costsOf((rows) => 1 + 0.4 * Math.floor((rows - 1) / 4), 1);

  test("everything where rows cost nothing, nothing where they cost as much as tokens", () => {
    const draft = chain(1, [2, 3, 4], [0.9, 0.5, 0.1]);
    expect(choose([draft], 64, flat).tree?.size).toBe(4);
    expect(choose([draft], 64, flat).gain).toBeCloseTo(2.5, 6);
    expect(choose([draft], 64, steep).tree).toBeUndefined();
    expect(choose([], 64, flat)).toEqual({ tree: undefined, gain: 1 });
  });

  test("up to the end of a cheap stretch, over a dear one if there is more behind it", () => {
    const sure = (n: number) =>
      chain(
        1,
        Array(n).fill(2),
        Array.from({ length: n }, (_, i) => 0.95 ** (i + 1)),
      );
    expect(choose([sure(20)], 64, steps).tree?.size).toBeGreaterThan(8);
    const unsure = chain(1, [2, 3, 4, 5, 6], [0.5, 0.25, 0.125, 0.06, 0.03]);
    expect(choose([unsure], 64, steps).tree?.size).toBe(4);
  });

  test("what a step takes beside its rows counts, and so does the limit of rows", () => {
    const draft = chain(1, [2, 3], [0.5, 0.25]);
    expect(
      choose(
        [draft],
        64,
        costsOf(() => 2, 1),
      ).tree,
    ).toBeUndefined();
    expect(choose([draft], 2, flat).tree?.size).toBe(2);
  });

  test("trees of several drafters are one", () => {
    const { tree } = choose([chain(1, [2, 3], [0.6, 0.4]), chain(1, [4], [0.3])], 64, flat);
    expect(tree && [...tree.token]).toEqual([1, 2, 3, 4]);
  });
});

describe("recycle", () => {
  test("proposes what was likely, best first, from the last row of each token", () => {
    const drafter = recycle({ width: 2 });
    const context = contextOf(10);
    const session = drafter.start([5], context, greedy);
    expect(session.propose({ nodes: 8, depth: 3 })).toBeUndefined();
    const rows = { token: Int32Array.of(5, 1, 5), parent: Int32Array.of(-1, 0, 1) };
    session.observe({ tokens: Int32Array.of(5), rows, best: Int32Array.of(7, 8, 2, 3, 1, 4) });
    const tree = session.propose({ nodes: 4, depth: 3 }) as TokenTree;
    expect([...tree.token]).toEqual([5, 1, 2, 4, 3]);
    expect([...tree.parent]).toEqual([-1, 0, 1, 0, 1]);
    expect((session.propose({ nodes: 8, depth: 1 }) as TokenTree).size).toBe(3);
    // Another text of the same model knows it too; another model does not.
    expect((drafter.start([1], context, greedy).propose({ nodes: 1, depth: 1 }) as TokenTree).token[1]).toBe(2);
    expect(drafter.start([1], contextOf(10), greedy).propose({ nodes: 1, depth: 1 })).toBeUndefined();
  });

  test("the table has what no row has said as nothing", () => {
    const table = new Adjacency(4, 2);
    table.update(Int32Array.of(3), Int32Array.of(1, 2));
    expect(table.after(3).map(({ token }) => token)).toEqual([1, 2]);
    expect(table.after(0)).toEqual([]);
  });

  test.each([[{ width: 0 }], [{ width: 65 }], [{ depth: 2 }]])("refused: %o", (options) => {
    expect(() => recycle(options as Parameters<typeof recycle>[0])).toThrow(
      expect.objectContaining({ code: "OUTRIDER_ARGUMENT" }),
    );
  });
});
