// Streams at an even pace, by a clock that the test turns.
import { describe, expect, test } from "vitest";
import { type Clock, smooth } from "../../../lib/generate/smooth.ts";

/** Time that passes only while everybody waits for it. */
class Turned implements Clock {
  #time = 0;
  readonly #sleepers: { at: number; wake: () => void }[] = [];

  now(): number {
    return this.#time;
  }

  sleep(milliseconds: number): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ at: this.#time + milliseconds, wake });
    });
  }

  /** Turns until `done` has settled. */
  async run<T>(done: Promise<T>): Promise<T> {
    let over = false;
    const settled = done.finally(() => {
      over = true;
    });
    settled.catch(() => {});
    while (!over) {
      for (let i = 0; i < 20; i++) await Promise.resolve();
      this.#sleepers.sort((a, b) => a.at - b.at);
      const next = this.#sleepers.shift();
      if (!next) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      this.#time = Math.max(this.#time, next.at);
      next.wake();
    }
    return settled;
  }
}

/** Bursts of so many pieces, each burst after so long. */
async function* bursts(turned: Turned, sizes: number[], milliseconds: number, end?: Error) {
  let piece = 0;
  for (const size of sizes) {
    await turned.sleep(milliseconds);
    for (let i = 0; i < size; i++) yield piece++;
  }
  if (end) throw end;
}

async function gather(
  turned: Turned,
  source: AsyncGenerator<number, void, undefined>,
  until = Number.POSITIVE_INFINITY,
) {
  const seen: { piece: number; at: number }[] = [];
  for await (const piece of smooth(source, undefined, turned)) {
    seen.push({ piece, at: turned.now() });
    if (seen.length === until) break;
  }
  return seen;
}

describe("smooth", () => {
  test("bursts come one by one, in order, none lost, and hardly later", async () => {
    const turned = new Turned();
    const sizes = Array.from({ length: 40 }, (_, i) => [1, 5, 2, 4][i % 4]);
    const seen = await turned.run(gather(turned, bursts(turned, sizes, 30)));
    expect(seen.map(({ piece }) => piece)).toEqual(seen.map((_, i) => i));
    expect(seen).toHaveLength(120);
    const gaps = seen.slice(40).map(({ at }, i) => at - seen[39 + i].at);
    const mean = gaps.reduce((a, b) => a + b) / gaps.length;
    expect(mean).toBeGreaterThan(8);
    expect(mean).toBeLessThan(12); // 30 ms for three pieces
    // As they came, the gaps were 0 and 30: twice out of three nothing.
    expect(gaps.filter((gap) => gap < 4).length).toBeLessThan(0.15 * gaps.length);
    expect(Math.max(...gaps)).toBeLessThan(25);
    expect(seen[119].at).toBeLessThan(40 * 30 + 120);
  });

  test("what comes evenly is not held back", async () => {
    const turned = new Turned();
    const seen = await turned.run(gather(turned, bursts(turned, Array(50).fill(1), 20)));
    for (const [i, { at }] of seen.entries()) expect(at).toBeLessThanOrEqual(20 * (i + 1) + 20);
  });

  test("a failure comes behind what was before it", async () => {
    const turned = new Turned();
    const error = new Error("broken");
    const seen: number[] = [];
    const reading = (async () => {
      for await (const piece of smooth(bursts(turned, [3, 3], 10, error), undefined, turned)) seen.push(piece);
    })();
    await expect(turned.run(reading)).rejects.toBe(error);
    expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("leaving ends the source, also one that is far ahead", async () => {
    const turned = new Turned();
    let ended = false;
    async function* endless() {
      try {
        for (let piece = 0; ; piece++) yield piece;
      } finally {
        ended = true;
      }
    }
    const seen = await turned.run(gather(turned, endless(), 100));
    expect(seen.map(({ piece }) => piece)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(ended).toBe(true);
  });

  test("an abort drops what waits, and the source says how it ends", async () => {
    const turned = new Turned();
    const controller = new AbortController();
    async function* source() {
      for (let piece = 0; piece < 40; piece++) {
        if (piece % 20 === 0) await turned.sleep(400);
        yield piece;
      }
      controller.abort(new Error("enough"));
      await turned.sleep(1);
      controller.signal.throwIfAborted();
    }
    const seen: number[] = [];
    const reading = (async () => {
      for await (const piece of smooth(source(), controller.signal, turned)) seen.push(piece);
    })();
    await expect(turned.run(reading)).rejects.toThrow("enough");
    expect(seen.length).toBeLessThan(40);
    expect(seen).toEqual(seen.map((_, i) => i));
  });

  test("a reader who stops for a while does not slow down what follows", async () => {
    const turned = new Turned();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const piece of smooth(bursts(turned, Array(150).fill(1), 10), undefined, turned)) {
        seen.push(turned.now());
        if (piece === 20) await turned.sleep(60_000);
      }
    })();
    await turned.run(reading);
    expect(seen).toHaveLength(150);
    expect(seen[149] - seen[21]).toBeLessThan(3000);
  });
});
