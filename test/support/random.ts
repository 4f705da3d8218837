// Seeded inputs: the same numbers in every run.

/** A generator of uniform numbers in [0, 1). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` normally distributed numbers in f32. */
export function normal(count: number, seed: number, scale = 1): Float32Array {
  const next = uniform(seed);
  return Float32Array.from(
    { length: count },
    () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** Normal numbers, one in fifty a thousand times as large. */
export function withOutliers(count: number, seed: number): Float32Array {
  const next = uniform(seed + 1);
  return normal(count, seed).map((value) => (next() < 0.02 ? value * 1000 : value));
}

/** Row lengths that meet every remainder of 16 lanes, unrolled pairs of vectors, and one column. */
export const oddSizes = [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 47, 64, 100, 257, 1025] as const;
