// The search for layers that a draft can do without.
import { describe, expect, test } from "vitest";
import { SkipSearch } from "../../../lib/draft/skip-search.ts";

const parts = ({ attention, mlp }: SkipSearch["mask"]) => [...attention, ...mlp].reduce((a, b) => a + b);

describe("skip search", () => {
  test("begins with an even mask that leaves the first and the last layer", () => {
    const search = new SkipSearch(10, 0.4);
    expect(parts(search.mask)).toBe(8);
    expect(search.kept).toBeCloseTo(0.6, 12);
    for (const part of [search.mask.attention, search.mask.mlp]) {
      expect([part[0], part[9]]).toEqual([0, 0]);
      expect(part.reduce((a, b) => a + b)).toBeGreaterThan(1);
    }
    expect(parts(new SkipSearch(10, 0).mask)).toBe(0);
    expect(parts(new SkipSearch(1, 0.9).mask)).toBe(0);
    expect(parts(new SkipSearch(4, 0.99).mask)).toBe(4); // all of the inner two
  });

  test("finds the parts that matter, and never leaves out another number", () => {
    // Right as often as the parts that matter run: attention of layers 2 to 5.
    const search = new SkipSearch(8, 0.4);
    const matters = [2, 3, 4, 5];
    const score = () => matters.filter((layer) => search.mask.attention[layer] === 0).length;
    const before = score();
    const count = parts(search.mask);
    let late = 0;
    for (let i = 0; i < 12 * 600; i++) {
      search.observe(1 + score(), 4);
      expect(parts(search.mask)).toBe(count);
      if (i >= 12 * 500) late += score() / 1200;
    }
    expect(before).toBeLessThan(4); // three layers of eight are left out, of which one at least matters
    expect(late).toBeGreaterThan(3.4);
  });

  test("what was found goes into a file and back, and nothing else does", () => {
    const search = new SkipSearch(6, 0.3);
    const ints = search.toInts();
    ints.reverse();
    expect(search.fromInts(ints)).toBe(true);
    expect([...search.toInts()]).toEqual([...ints]);
    expect(search.fromInts(ints.slice(1))).toBe(false);
    expect(search.fromInts(Int32Array.from(ints, () => 2))).toBe(false);
  });
});
