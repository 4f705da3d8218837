// Mutated files, snapshots and trees either work or fail with an OutriderError; never a crash, a hang or a huge allocation.
// `npm run fuzz` runs the same targets without end under the sanitizers.
import { expect, test } from "vitest";
import { targets } from "../support/hostile.ts";
import { uniform } from "../support/random.ts";

const mutations = 2000;
const slowest = 5000; // ms; a hang, not a speed test
const mostGrowth = 512 * 2 ** 20; // bytes

test.each(Object.keys(targets))(`%s: ${mutations} mutations`, async (name) => {
  const target = await targets[name]();
  const before = process.resourceUsage().maxRSS * 1024;
  let taken = 0;
  try {
    for (let seed = 0; seed < mutations; seed++) {
      const start = performance.now();
      try {
        if (await target.once(uniform(seed))) taken += 1;
      } catch (error) {
        throw new Error(`${name}, seed ${seed}: ${(error as Error).stack}`, { cause: error });
      }
      expect(performance.now() - start, `seed ${seed}`).toBeLessThan(slowest);
    }
  } finally {
    await target.close();
  }
  expect(process.resourceUsage().maxRSS * 1024 - before).toBeLessThan(mostGrowth);
  // Mutations that are all accepted, or all refused at the door, would prove little.
  expect(taken).toBeGreaterThan(mutations / 200);
  expect(taken).toBeLessThan(mutations * 0.95);
});
