// Copies that decoding makes by itself: how long they are, what is learnt of them, and who is copied for.
import { describe, expect, test, vi } from "vitest";
import { copy } from "../../../lib/draft/copy.ts";
import type { DraftCopies, DraftCosts, DraftOutcome, DraftSession } from "../../../lib/draft/drafter.ts";
import { Drafting } from "../../../lib/draft/drafting.ts";
import { Experience } from "../../../lib/draft/experience.ts";
import { copyLengths } from "../../../lib/draft/policy.ts";
import { contextOf, greedy } from "../../support/eager.ts";

const costs = (slope: number): DraftCosts => ({ token: 1, tree: (rows) => 1 + slope * (rows - 1) });
const probabilities = (of: (matched: number) => number) =>
  Float64Array.from({ length: 65 }, (_, matched) => of(matched));

describe("lengths of copies", () => {
  const rising = probabilities((matched) => (matched === 0 ? 0.4 : Math.min(0.95, matched / 12)));

  test.each([0.02, 0.1, 0.2, 0.3, 0.5, 0.9])(
    "bring the most tokens a second where a row costs %f, by brute force",
    (slope) => {
      const { tokens, gain } = copyLengths(rising, 2, 20, costs(slope));
      for (let matched = 0; matched < 65; matched++) {
        const found = tokens[Math.min(matched, tokens.length - 1)];
        let [best, at] = [1, 0];
        for (let length = 1; length <= 20; length++) {
          let [reach, expected] = [1, 1];
          for (let i = 0; i < length; i++) {
            reach *= rising[Math.min(64, matched === 0 && i > 0 ? 1 + i : matched + i)];
            expected += reach;
          }
          const rate = expected / costs(slope).tree(length + 1);
          if (reach >= 0.02 && rate >= 1.03 && rate > best) [best, at] = [rate, length];
        }
        expect([found, gain(matched)], `${matched}`).toEqual(matched === 1 ? [-1, 1] : [at, expect.closeTo(best, 9)]);
      }
    },
  );

  test("entries end where all longer repetitions are alike, and costs may have steps", () => {
    const lengths = (of: (matched: number) => number, least: number, slope: number) => [
      ...copyLengths(probabilities(of), least, 9, costs(slope)).tokens,
    ];
    expect(lengths(() => 0, 1, 0.1)).toEqual([-1, 0]);
    expect(lengths((m) => (m === 0 ? 0 : 0.9), 3, 0.01)).toEqual([-1, -1, -1, 9]);
    expect(lengths(() => 0.9, 4, 0.01)).toEqual([9, -1, -1, -1, 9]); // behind changes as many, whatever has to agree
    const steps = { token: 1, tree: (rows: number) => (rows <= 4 ? 1 : 100) };
    expect(
      copyLengths(
        probabilities(() => 0.5),
        1,
        9,
        steps,
      ).tokens[1],
    ).toBe(3);
  });
});

/** A drafter that copies, and what it is told. */
function copier(copies: unknown, seen: DraftOutcome[] = []) {
  const asked = vi.fn(() => undefined);
  const session = {
    copies: copies as DraftCopies,
    propose: asked,
    observe: (outcome: DraftOutcome) => void seen.push(outcome),
  };
  return { name: "c", kind: "c", asked, start: (): DraftSession => session };
}
const from = (least: number, sure = 0.9) => ({
  least,
  most: 8,
  sure: (matched: number) => (matched === 0 ? 0 : sure),
});
const context = contextOf(100);

/** Experience of a machine where a row costs little. */
function experienced(slope = 0.05): Experience {
  const experience = new Experience();
  for (let i = 0; i < 40; i++) {
    experience.observePlain(1, 1, 0.5);
    for (const rows of [2, 4, 9]) experience.observeTree(rows, 1 + slope * (rows - 1), 0.5);
  }
  return experience;
}

describe("who is copied for", () => {
  const copiesOf = (...drafters: ReturnType<typeof copier>[]) =>
    new Drafting(drafters, experienced(), [1, 2, 3], context, greedy).ahead(8).copies;

  test("one drafter that says how it copies, alone", () => {
    expect([...(copiesOf(copier(from(3))) ?? [])]).toEqual([-1, -1, -1, 8]);
    expect(copiesOf(copier(undefined))).toBeUndefined();
    expect(copiesOf(copier(from(3)), copier(from(3)))).toBeUndefined();
    expect(copiesOf()).toBeUndefined();
    const rule = { ...greedy, approximate: { rule: "typical" as const } };
    expect(new Drafting([copier(from(3))], experienced(), [1], context, rule).ahead(8).copies).toBeUndefined();
  });

  test("nobody is asked then; others are, less and less often", async () => {
    const drafter = copier(from(3));
    const one = new Drafting([drafter], experienced(), [1, 2, 3], context, greedy);
    expect([one.due, one.ahead(8).repeat]).toEqual([false, 8]);
    expect(await one.propose(8)).toBeUndefined();
    expect(drafter.asked).not.toHaveBeenCalled();
    const other = new Drafting([copier(undefined)], experienced(), [1, 2, 3], context, greedy);
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) {
      const { repeat } = other.ahead(8);
      seen.push(repeat);
      expect(other.due).toBe(true);
      other.plain({ root: 3, tokens: new Int32Array(repeat), width: 0, engine: 1, beside: 0 });
    }
    expect(seen).toEqual([1, 2, 4, 8, 8]);
  });

  test("token by token while nothing was timed", () => {
    const drafting = new Drafting([copier(from(3))], new Experience(), [1, 2, 3], context, greedy);
    expect(drafting.ahead(8)).toEqual({ repeat: 1 });
    drafting.plain({ root: 3, tokens: Int32Array.of(4), width: 0, engine: 1, beside: 0.1 });
    expect(drafting.ahead(8).repeat).toBe(8);
  });

  test("who says nonsense is switched off with a warning", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const throws = () => {
      throw new Error("no");
    };
    const wrong: unknown[] = [7, {}, { most: 8, sure: () => 0.5 }, { least: 2, most: 8 }];
    wrong.push(...[0, 65, 1.5, Number.NaN].map((least) => ({ ...from(2), least })));
    wrong.push(...[0, 256, 1.5, "8"].map((most) => ({ ...from(2), most })));
    wrong.push(...[-0.1, 1.5, Number.NaN, undefined, {}].map((said) => ({ ...from(2), sure: () => said })));
    wrong.push({ ...from(2), sure: throws });
    for (const copies of wrong) {
      const drafting = new Drafting([copier(copies)], experienced(), [1], context, greedy);
      expect(drafting.ahead(8)).toEqual({ repeat: 1 });
      expect(drafting.stats.off).toBe("every drafter failed");
    }
    expect(warn).toHaveBeenCalledTimes(wrong.length);
    warn.mockRestore();
  });

  test("copies of the longest match are made so; those of a corpus or of n-grams are asked for", () => {
    const copies = (options: Parameters<typeof copy>[0]) => copy(options).start([1, 2, 3], context, greedy).copies;
    expect(copies({ maxTokens: 9 })?.most).toBe(9);
    expect([copies({})?.least, copies({ minMatch: 3 })?.least]).toEqual([2, 3]);
    expect(copies({ minMatch: 3 })?.sure(2)).toBe(copies({})?.sure(2));
    expect(copies({})?.sure(0)).toBeGreaterThan(0); // behind a changed token
    expect([copies({ match: "latest" }), copies({ corpus: [1, 2, 3, 4] })]).toEqual([undefined, undefined]);
  });
});

describe("what is learnt of a call", () => {
  /** A call: for each step its tokens, those proposed, how many of them were drafted, and tokens that agreed. */
  const call = (
    root: number,
    ...steps: [tokens: number[], proposed: number[], drafted: number, matched: number][]
  ) => ({
    root,
    tokens: Int32Array.from(steps.flatMap(([tokens]) => tokens)),
    steps: Float64Array.from(
      steps.flatMap(([tokens, proposed, drafted, matched]) => [
        ...[tokens.length, proposed.length, drafted, matched],
        drafted > 0 ? 1 + drafted / 10 : tokens.length,
      ]),
    ),
    proposed: Int32Array.from(steps.flatMap(([, proposed]) => proposed)),
    ...{
      width: 0,
      engine: steps.reduce((sum, [tokens, , drafted]) => sum + (drafted > 0 ? 1 + drafted / 10 : tokens.length), 0),
      beside: 0.5,
    },
  });

  test("steps, drafts and times", () => {
    const seen: DraftOutcome[] = [];
    const drafting = new Drafting([copier(from(2), seen)], experienced(), [1, 2, 3], context, greedy);
    drafting.ahead(8);
    drafting.plain(call(3, [[4, 21], [], 0, 1], [[5], [9], 0, 2], [[6, 7, 8], [6, 7, 1, 2], 4, 3]));
    drafting.ahead(8);
    drafting.plain(call(8, [[9, 10], [9], 1, 2], [[11], [12, 13], 2, 2]));
    drafting.end();
    const { stats } = drafting;
    expect([stats.steps, stats.drafted, stats.accepted]).toEqual([3, 7, 3]);
    expect(stats.meanAcceptedLength).toBe(2);
    expect(stats.acceptedAtDepth).toEqual([2 / 3, 1 / 2, 0, 0]);
    expect(stats.drafters).toEqual({ c: { drafted: 7, accepted: 3 } });
    expect(stats.plainMs).toBeCloseTo(3000);
    expect(stats.verifyMs).toBeCloseTo(1400 + 1100 + 1200);
    expect(stats.predictedGain).toBeGreaterThan(1);
    expect(seen).toEqual([]); // the drafter has nothing to do
  });

  test.each([
    [0, 5, 4],
    [1, 5, 4], // the token that the last step drew itself
    [2, 5, 3],
    [3, 5, 2],
    [4, 5, 2], // and the one of the step before
    [5, 5, 1],
    [6, 5, 0],
  ])("of %i tokens that nobody wanted none counts as accepted", (count, drafted, accepted) => {
    const drafting = new Drafting([copier(from(2))], experienced(), [1, 2, 3], context, greedy);
    drafting.ahead(8);
    drafting.plain(call(3, [[6, 7, 8], [6, 7], 2, 3], [[9, 10, 11], [9, 10, 1], 3, 3]));
    drafting.unwanted(count);
    drafting.end();
    expect([drafting.stats.drafted, drafting.stats.accepted]).toEqual([drafted, accepted]);
  });

  test("copies that are never right get shorter, in this text and all", () => {
    const experience = experienced(0.3);
    const drafting = new Drafting([copier(from(2))], experience, [1, 2, 3], context, greedy);
    const length = () => drafting.ahead(8).copies?.[2];
    const before = length();
    expect(before).toBeGreaterThan(2);
    for (let i = 0; i < 60; i++) {
      drafting.plain(call(3, [[4], [5, 6], 2, 2]));
      if (i === 0) expect(length()).toBeLessThanOrEqual(before as number);
      else drafting.ahead(8);
    }
    expect(length()).toBeLessThan(1);
    expect(experience.acceptance.estimate("c, greedy", 0.9)).toBeLessThan(0.3);
  });

  test("what comes behind an end token was neither right nor wrong", () => {
    const [ended, apart] = [experienced(), experienced()];
    for (const [experience, proposed, drafted] of [
      [ended, [4, 5, 6, 7], 4],
      [apart, [4, 5], 2],
    ] as const) {
      const drafting = new Drafting([copier(from(2))], experience, [1, 2, 3], context, greedy);
      drafting.ahead(8);
      for (let i = 0; i < 9; i++) drafting.plain(call(3, [[4, 5], [...proposed], drafted, 2]));
      drafting.end();
    }
    expect(ended.acceptance.entries()).toEqual(apart.acceptance.entries());
  });

  test("what is noted without being drafted is learnt from too", () => {
    const experience = experienced(0.3);
    const drafting = new Drafting([copier(from(2, 0.05))], experience, [1, 2, 3], context, greedy);
    expect(drafting.ahead(8).copies?.[2]).toBe(0);
    for (let i = 0; i < 20; i++) {
      drafting.plain(call(3, [[4], [4], 0, 2], [[5], [5], 0, 2], [[6], [6], 0, 2], [[7], [7], 0, 2]));
      drafting.ahead(8);
    }
    expect(experience.acceptance.estimate("c, greedy", 0.05)).toBeGreaterThan(0.8);
    for (let i = 0; i < 16; i++) {
      drafting.plain(call(3, [[4], [4], 0, 2], [[5], [5], 0, 2], [[6], [6], 0, 2], [[7], [7], 0, 2]));
      drafting.ahead(8);
    }
    expect(drafting.ahead(8).copies?.[2]).toBeGreaterThan(0);
  });

  test("after 64 steps with drafts in a row one token is drawn plainly", () => {
    const drafting = new Drafting([copier(from(2))], experienced(), [1, 2, 3], context, greedy);
    for (let i = 0; i < 63; i++) {
      drafting.plain(call(3, [[4, 5], [4], 1, 2]));
      expect(drafting.ahead(8).copies).toBeDefined();
    }
    drafting.plain(call(3, [[4, 5], [4], 1, 2]));
    expect(drafting.ahead(8)).toEqual({ repeat: 1 });
    drafting.plain({ root: 5, tokens: Int32Array.of(6), width: 0, engine: 1, beside: 0.5 });
    expect(drafting.ahead(8).copies).toBeDefined();
  });

  test("where nothing was drafted for long, what is nearly worth it is drafted in two rows", () => {
    const drafting = new Drafting([copier(from(2, 0.5))], experienced(0.9), [1, 2, 3], context, greedy);
    expect(drafting.ahead(8).copies?.[2]).toBe(0);
    for (let i = 0; i < 17; i++) {
      drafting.plain(call(3, [[4], [], 0, 0], [[5], [], 0, 0], [[6], [], 0, 0], [[7], [], 0, 0]));
      expect(drafting.ahead(8).copies?.[2]).toBe(i < 15 ? 0 : 1);
    }
    drafting.plain(call(3, [[4], [5], 1, 2]));
    expect(drafting.ahead(8).copies?.[2]).toBe(0);
  });
});
