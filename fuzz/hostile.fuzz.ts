// The targets of test/support/hostile.ts in turn, with fresh seeds, until the time is over.
import { test } from "vitest";
import { targets } from "../test/support/hostile.ts";
import { uniform } from "../test/support/random.ts";

const seconds = Number(process.env.OUTRIDER_FUZZ_SECONDS);
let seed = Number(process.env.OUTRIDER_FUZZ_SEED);

test(`from seed ${seed}`, async () => {
  const end = performance.now() + seconds * 1e3;
  const open = await Promise.all(
    Object.entries(targets).map(async ([name, make]) => ({ name, target: await make(), count: 0, taken: 0 })),
  );
  let reported = performance.now();
  while (performance.now() < end) {
    for (const entry of open) {
      for (let i = 0; i < 50; i++, seed++) {
        const start = performance.now();
        try {
          if (await entry.target.once(uniform(seed))) entry.taken += 1;
        } catch (error) {
          throw new Error(`${entry.name}, seed ${seed}: ${(error as Error).stack}`, { cause: error });
        }
        if (performance.now() - start > 20_000) throw new Error(`${entry.name}, seed ${seed}: took over 20 s`);
        entry.count += 1;
      }
    }
    if (performance.now() - reported > 60_000) {
      reported = performance.now();
      const rss = Math.round(process.memoryUsage().rss / 2 ** 20);
      console.log(open.map(({ name, count, taken }) => `${name} ${count} (${taken} accepted)`).join(", "), `RSS ${rss} MiB`);
    }
  }
  console.log(`done: ${open.map(({ name, count, taken }) => `${name} ${count} (${taken} accepted)`).join(", ")}; next seed ${seed}`);
  for (const { target } of open) await target.close();
});
