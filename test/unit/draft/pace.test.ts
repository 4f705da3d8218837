// How far is decoded without asking drafters, and where they are asked.
import { describe, expect, test, vi } from "vitest";
import { copy } from "../../../lib/draft/copy.ts";
import type { DraftCosts, DraftSession } from "../../../lib/draft/drafter.ts";
import { Drafting } from "../../../lib/draft/drafting.ts";
import { Experience } from "../../../lib/draft/experience.ts";
import { Pace } from "../../../lib/draft/pace.ts";
import { leastRun } from "../../../lib/draft/policy.ts";
import { contextOf, greedy } from "../../support/eager.ts";

describe("pace", () => {
  test("drafters that may propose anywhere are asked less and less often, until a draft is taken", () => {
    const pace = new Pace();
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) {
      const { repeat, knownRun } = pace.ahead(8, undefined);
      expect(knownRun).toBe(0);
      seen.push(repeat);
      pace.note(false, repeat);
    }
    expect(seen).toEqual([1, 2, 4, 8, 8]);
    pace.note(true, 1); // evaluated in vain
    expect(pace.ahead(8, undefined).repeat).toBe(8);
    pace.note(true, 2);
    expect(pace.ahead(8, undefined).repeat).toBe(1);
  });

  test("repetitions are waited for, longer ones after each that brought no draft", () => {
    const pace = new Pace();
    const call = (tokens: number) => {
      const ahead = pace.ahead(8, 2);
      pace.note(false, tokens);
      return ahead;
    };
    expect(call(8)).toEqual({ repeat: 8, knownRun: 2 }); // none was met
    expect(call(8)).toEqual({ repeat: 8, knownRun: 2 });
    expect(call(3)).toEqual({ repeat: 8, knownRun: 2 }); // one was, and the next call drafts nothing
    expect(call(1)).toEqual({ repeat: 8, knownRun: 2 });
    expect(call(5)).toEqual({ repeat: 8, knownRun: 3 });
    pace.ahead(8, 2);
    pace.note(true, 1); // a draft, but nobody took it: neither longer nor shorter
    expect(pace.ahead(8, 2).knownRun).toBe(4);
    pace.note(true, 3);
    expect(pace.ahead(8, 2).knownRun).toBe(2);
    for (let i = 0; i < 100; i++) {
      pace.ahead(8, 2);
      pace.note(false, 1);
    }
    expect(pace.ahead(8, 2).knownRun).toBe(16);
    expect(pace.ahead(8, 0)).toEqual({ repeat: 8, knownRun: 0 }); // none would pay
  });

  test("drafters are due where a repetition was met, after drafts, and every 64 tokens", () => {
    const pace = new Pace();
    const dueAfter = (drafted: boolean, tokens: number, most = 8) => {
      pace.ahead(most, 2);
      pace.note(drafted, tokens);
      return pace.due;
    };
    expect(pace.due).toBe(true);
    expect(dueAfter(false, 8)).toBe(false);
    expect(dueAfter(false, 5)).toBe(true);
    expect(dueAfter(false, 8)).toBe(false);
    expect(dueAfter(true, 1)).toBe(true);
    const seen = Array.from({ length: 16 }, () => dueAfter(false, 8));
    expect(seen.flatMap((due, i) => (due ? [8 * (i + 1)] : []))).toEqual([64, 128]);
    expect(dueAfter(false, 1, 1)).toBe(true); // token by token: nothing else says that there is one
    pace.ahead(8, undefined);
    pace.note(false, 8);
    expect(pace.due).toBe(true);
  });

  test("while drafters read the prompt they are due, and a repetition that they do not know yet is not in vain", () => {
    const pace = new Pace(3);
    for (let i = 0; i < 3; i++) {
      expect(pace.ahead(8, 2).knownRun).toBe(2);
      pace.note(false, i === 1 ? 8 : 4);
      expect(pace.due).toBe(true);
    }
    pace.ahead(8, 2);
    pace.note(false, 8);
    expect(pace.due).toBe(false);
  });
});

describe("the repetition that pays", () => {
  const costs = (slope: number): DraftCosts => ({ token: 1, tree: (rows) => 1 + slope * (rows - 1) });
  const sure = (matched: number) => (matched < 2 ? 0 : Math.min(0.95, matched / 8));

  test("by brute force over all lengths of the chain", () => {
    for (const slope of [0.05, 0.2, 0.3, 0.5, 0.7])
      for (const beside of [0, 0.1, 0.5, 1]) {
        const gain = (run: number) => {
          let [best, reach, expected] = [0, 1, 1];
          for (let n = 2; n <= 24; n++) {
            reach *= sure(run + n - 2);
            expected += reach;
            best = Math.max(best, expected / (costs(slope).tree(n) + beside));
          }
          return best;
        };
        const first = Array.from({ length: 16 }, (_, i) => i + 1).find((run) => gain(run) >= 1.03) ?? 0;
        expect(leastRun(sure, costs(slope), beside), `${slope}, ${beside}`).toBe(first);
      }
  });

  test("the shortest with a proposal while costs are not known, none where nothing is proposed", () => {
    expect(leastRun(sure, undefined, 0)).toBe(2);
    expect(leastRun(() => 0, undefined, 0)).toBe(0);
    expect(leastRun(() => 0, costs(0.1), 0)).toBe(0);
    expect(leastRun(sure, costs(1.2), 1)).toBe(0);
  });
});

describe("drafters together", () => {
  const context = contextOf(100);
  const nothing: DraftSession = { propose: () => undefined, observe() {} };
  const asking = (name: string, repeats?: unknown) => ({
    ...{ name, kind: name },
    start: () => ({ ...nothing, ...(repeats === undefined ? {} : { repeats }) }) as DraftSession,
  });
  const from = (least: number) => (matched: number) => (matched < least ? 0 : 0.5);
  const runOf = (...drafters: ReturnType<typeof asking>[]) =>
    new Drafting(drafters, new Experience(), [1, 2, 3], context, greedy).ahead(8).knownRun;

  test("wait for the shortest repetition of theirs, and for none if one may propose anywhere", () => {
    expect(runOf(asking("a", from(5)), asking("b", from(3)))).toBe(3);
    expect(runOf(asking("a", from(5)), asking("b"))).toBe(0);
    expect(runOf(asking("a", from(17)))).toBe(0);
    expect(runOf()).toBe(0);
  });

  test("who says nonsense of repetitions may propose anywhere, who throws is switched off", () => {
    for (const wrong of [-0.1, 1.5, Number.NaN, undefined, {}])
      expect(
        runOf(
          asking("a", from(3)),
          asking("b", () => wrong),
        ),
        String(wrong),
      ).toBe(0);
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const throws = () => {
      throw new Error("no");
    };
    expect(runOf(asking("a", from(3)), asking("b", throws))).toBe(3);
    expect(runOf(asking("a", from(3)), asking("b", 7))).toBe(3); // no function
    expect(warn).toHaveBeenCalledTimes(2);
    warn.mockRestore();
  });

  test("copies of the text wait for their shortest match; those of a corpus may come anywhere", () => {
    const start = (options: Parameters<typeof copy>[0]) => copy(options).start([1, 2, 3], context, greedy);
    const least = (options: Parameters<typeof copy>[0]) =>
      Array.from({ length: 64 }, (_, i) => i + 1).find((matched) => (start(options).repeats?.(matched) ?? 0) > 0);
    expect(least({})).toBe(2);
    expect(least({ minMatch: 3, match: "latest" })).toBe(3);
    expect(start({ match: "latest", maxMatch: 4 }).repeats?.(9)).toBe(start({}).repeats?.(4)); // no more is looked up
    expect(start({ corpus: [1, 2, 3, 4] }).repeats).toBeUndefined();
  });

  test("are told of calls later where they have nothing to say, in order and with all rows", () => {
    const seen: { tokens: number[]; token: number[]; parent: number[] }[] = [];
    let asked = 0;
    const curious = {
      name: "curious",
      start: (): DraftSession => ({
        repeats: from(2),
        propose: () => {
          asked += 1;
          return undefined;
        },
        observe: ({ tokens, rows: { token, parent } }) =>
          void seen.push({ tokens: [...tokens], token: [...token], parent: [...parent] }),
      }),
    };
    const drafting = new Drafting([curious], new Experience(), [1, 2, 3], context, greedy);
    const call = (root: number, ...tokens: number[]) => {
      drafting.ahead(Math.max(4, tokens.length));
      drafting.plain({ root, tokens: Int32Array.from(tokens), width: 0, engine: 1, beside: 0 });
    };
    call(3, 4, 5); // the prompt is being read
    expect(seen).toEqual([{ tokens: [4, 5], token: [3, 4], parent: [-1, 0] }]);
    call(5, 6, 7, 8, 9);
    call(9, 10, 11, 12, 13);
    expect([seen.length, drafting.due]).toEqual([1, false]);
    call(13, 14, 15); // ended early: a repetition
    expect(drafting.due).toBe(true);
    expect(seen.slice(1)).toEqual([
      { tokens: [6, 7, 8, 9], token: [5, 6, 7, 8], parent: [-1, 0, 1, 2] },
      { tokens: [10, 11, 12, 13], token: [9, 10, 11, 12], parent: [-1, 0, 1, 2] },
      { tokens: [14, 15], token: [13, 14], parent: [-1, 0] },
    ]);
    call(15, 16, 17, 18, 19);
    expect(drafting.stats.plainMs).toBe(5e3);
    expect(seen.at(-1)?.tokens).toEqual([16, 17, 18, 19]);
    call(19, 20, 21, 22, 23);
    drafting.end();
    expect(seen.at(-1)?.tokens).toEqual([20, 21, 22, 23]);
    expect(asked).toBe(0);
  });
});
