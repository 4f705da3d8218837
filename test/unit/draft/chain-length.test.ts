// How long chains are that a drafter draws token by token.
import { describe, expect, test } from "vitest";
import { ChainLength } from "../../../lib/draft/chain-length.ts";
import { costsOf } from "../../support/eager.ts";

const flat = costsOf(() => 1, 1);

/** A drafter whose tokens take so long, of which so many are right every time. */
function learnt(right: number, drafted: number, token: number, most = 8): ChainLength {
  const length = new ChainLength(most);
  for (let i = 0; i < 300; i++) {
    length.time(1, token, 0.01);
    length.observe(right, right < drafted);
  }
  return length;
}

describe("chain length", () => {
  test("the best of all lengths, by trying each", () => {
    for (const [right, token] of [
      [2, 0.1],
      [5, 0.1],
      [5, 0.3],
      [8, 0.05],
    ]) {
      const length = learnt(right, 8, token);
      const rate = (g: number) => {
        let [reach, tokens] = [1, 1];
        for (let at = 0; at < g; at++) {
          reach *= length.acceptance(at);
          tokens += reach;
        }
        return g === 0 ? 1.03 : tokens / (1 + 0.01 + g * token); // a small gain is none
      };
      const chosen = length.choose(flat, 8);
      for (let g = 0; g <= 8; g++) expect(rate(chosen)).toBeGreaterThanOrEqual(rate(g) * (1 - 1e-6));
    }
  });

  test("acceptance is by depth: what is always right up to the third token is drafted up to there", () => {
    const length = learnt(3, 8, 0.2);
    expect(length.choose(flat, 8)).toBe(3);
    expect(length.choose(flat, 2)).toBe(2);
    expect(length.acceptance(2)).toBeGreaterThan(0.9);
    expect(length.acceptance(3)).toBeLessThan(0.1);
  });

  test("nothing where a drafted token takes as long as one without, but for a try now and then that comes ever less often", () => {
    const length = learnt(1, 8, 1);
    let [tries, early] = [0, 0];
    for (let token = 0; token < 2000; token++) {
      const count = length.choose(flat, 8);
      expect(count).toBeLessThanOrEqual(1);
      if (count === 0) length.skipped(1);
      else {
        length.observe(0, true);
        tries += 1;
        if (token < 200) early += 1;
      }
    }
    expect(early).toBeGreaterThan(5); // three in a row each time
    expect(tries).toBeLessThan(18);
  });

  test("a drafter whose first token is dear drafts more or nothing", () => {
    const seconds = (count: number) => 0.6 + 0.1 * count;
    const length = new ChainLength(8);
    for (let i = 0; i < 400; i++) {
      const count = 1 + (i % 4);
      length.time(count, seconds(count), 0.01);
      length.observe(8, false);
    }
    expect(length.choose(flat, 8)).toBe(8);
    expect(length.choose(flat, 1)).toBe(1);
    const dear = costsOf(() => 1.25, 1); // 2 / (1.25 + 0.7) is no gain, 3 / (1.25 + 0.8) is one
    expect(length.choose(dear, 2)).toBe(2);
  });

  test("a short try where nothing was timed, and none in no room", () => {
    const length = new ChainLength(8);
    expect(length.choose(undefined, 8)).toBe(3);
    expect(length.choose(flat, 8)).toBe(3);
    expect(length.choose(undefined, 2)).toBe(2);
    expect(length.choose(flat, 0)).toBe(0);
  });
});
