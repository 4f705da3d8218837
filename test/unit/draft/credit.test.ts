// What drafters owe: a hundredth of the time, over all texts.
import { describe, expect, test } from "vitest";
import { Credit } from "../../../lib/draft/credit.ts";
import type { Drafter } from "../../../lib/draft/drafter.ts";
import { Drafting } from "../../../lib/draft/drafting.ts";
import { Experience } from "../../../lib/draft/experience.ts";
import { contextOf, greedy } from "../../support/eager.ts";

describe("credit", () => {
  test("what only costs rests until it was a hundredth of the time", () => {
    const credit = new Credit();
    let [spent, tokens] = [0, 0];
    while (tokens < 100_000) {
      if (credit.rest > 0) {
        const { rest } = credit;
        tokens += rest;
        credit.pass(rest);
      }
      credit.note(-2, 1);
      spent += 2;
      tokens += 1;
      credit.pass(1);
    }
    expect(spent / tokens).toBeLessThan(0.011);
    expect(spent).toBeGreaterThan(500); // it is asked again and again
  });

  test("what wins more than it costs never rests, and saves up for a bad time but not for ever", () => {
    const credit = new Credit();
    for (let i = 0; i < 1000; i++) credit.note(i % 2 === 0 ? 3 : -2, 1);
    expect(credit.rest).toBe(0);
    for (let i = 0; i < 7; i++) credit.note(-2, 1);
    expect(credit.rest).toBe(0);
    for (let i = 0; i < 3; i++) credit.note(-2, 1);
    expect(credit.rest).toBeGreaterThan(100);
  });

  test("one pause is no debt", () => {
    const credit = new Credit();
    for (let i = 0; i < 20; i++) expect(credit.usual(1e-5, true)).toBeCloseTo(1e-5, 12);
    expect(credit.usual(0.05, true)).toBeLessThan(3e-5);
    expect(credit.usual(0.05, false)).toBeLessThan(3e-5);
  });
});

describe("drafting", () => {
  const slowToStart: Drafter = {
    name: "slow to start",
    start: () => {
      let first = true;
      return {
        propose() {
          const until = performance.now() + (first ? 20 : 0);
          while (performance.now() < until);
          first = false;
          return undefined;
        },
        observe() {},
      };
    },
  };
  const outcome = {
    tokens: Int32Array.of(1),
    rows: { token: Int32Array.of(1), parent: Int32Array.of(-1) },
  };

  test("what reading the prompt took is owed at the end of the text, not in the middle of it", async () => {
    const experience = new Experience();
    for (let i = 0; i < 30; i++) experience.observePlain(1, 1e-3, 0);
    const credit = experience.credit(["slow to start"]);
    const drafting = new Drafting([slowToStart], experience, [1], contextOf(10), greedy);
    for (let i = 0; i < 50; i++) {
      await drafting.propose(100);
      drafting.observe(outcome, 0);
      expect(credit.rest).toBe(0);
    }
    drafting.end();
    expect(credit.rest).toBeGreaterThan(1000); // 20 ms at 1 ms a token, less what it had
  });

  test("a long prompt may be read for a hundredth of its prefill", async () => {
    const experience = new Experience();
    for (let i = 0; i < 30; i++) experience.observePlain(1, 1e-3, 0);
    const drafting = new Drafting([slowToStart], experience, new Int32Array(20_000), contextOf(10), greedy);
    await drafting.propose(100);
    drafting.observe(outcome, 0);
    drafting.end();
    expect(experience.credit(["slow to start"]).rest).toBe(0);
  });
});
