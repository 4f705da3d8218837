// The knapsack over bits: against an exhaustive search.
import { expect, test } from "vitest";
import { type Item, knapsack } from "../../../lib/quantize/budget.ts";
import { uniform } from "../../support/random.ts";

const sum = (items: readonly Item[], taken: readonly number[], what: "bytes" | "costs") =>
  taken.reduce((total, choice, i) => total + items[i][what][choice], 0);

/** The best of all combinations that fit. */
function exhaustive(items: readonly Item[], budget: number): number {
  let best = Number.POSITIVE_INFINITY;
  const walk = (i: number, bytes: number, cost: number) => {
    if (bytes > budget || cost >= best) return;
    if (i === items.length) best = cost;
    else items[i].bytes.forEach((own, choice) => void walk(i + 1, bytes + own, cost + items[i].costs[choice]));
  };
  walk(0, 0, 0);
  return best;
}

test("never over budget, and off the best by less than the largest step of one item", () => {
  const next = uniform(1);
  for (let round = 0; round < 200; round++) {
    const items = Array.from({ length: 6 }, (): Item => {
      const size = 10 + Math.floor(next() * 90);
      const cost = 10 ** (2 * next());
      return {
        bytes: [2.5, 3, 4, 4.5, 8.5].map((bits) => Math.round(bits * size)),
        // Mostly falling, with choices that nobody should take.
        costs: [1, 0.5, 0.3, 0.05, 0.001].map((part) => cost * part * (0.5 + next())),
      };
    });
    const least = items.reduce((total, { bytes }) => total + bytes[0], 0);
    const budget = Math.round(least * (1 + 1.5 * next()));
    const taken = knapsack(items, budget);
    expect(sum(items, taken, "bytes")).toBeLessThanOrEqual(budget);
    const step = Math.max(...items.map(({ costs }) => costs[0] - Math.min(...costs)));
    const best = exhaustive(items, budget);
    expect(sum(items, taken, "costs")).toBeGreaterThanOrEqual(best - 1e-12);
    expect(sum(items, taken, "costs")).toBeLessThan(best + step);
  }
});

test("all that fits is taken, and nothing that costs more", () => {
  const items: Item[] = [
    { bytes: [10, 20, 30], costs: [5, 6, 1] },
    { bytes: [10, 20, 30], costs: [9, 2, 1.9] },
  ];
  expect(knapsack(items, 60)).toEqual([2, 2]);
  expect(knapsack(items, 50)).toEqual([2, 1]);
  expect(knapsack(items, 20)).toEqual([0, 0]);
  expect(() => knapsack(items, 19)).toThrow(/at least 20 bytes .* received 19/);
});
