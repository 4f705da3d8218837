// Timing: tasks take turns, so that a change of the machine's mood meets all of them, and medians are reported.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Seconds of one call. */
export async function timed(call) {
  const start = performance.now();
  await call();
  return (performance.now() - start) / 1e3;
}

/**
 * Runs each task `repetitions` times in turn, after one call of each to warm up.
 * @param tasks functions that do the work and return its measure, or an array of measures
 * @returns per task, the median of each measure
 */
export async function interleave(tasks, repetitions) {
  const names = Object.keys(tasks);
  const seen = Object.fromEntries(names.map((name) => [name, []]));
  for (let i = -1; i < repetitions; i++) {
    for (const name of names) {
      const result = await tasks[name]();
      if (i >= 0) seen[name].push([result].flat());
    }
  }
  return Object.fromEntries(
    names.map((name) => [name, seen[name][0].map((_, j) => median(seen[name].map((row) => row[j])))]),
  );
}

/** Seconds per call of a synchronous kernel: as many calls as take `seconds`. */
export function perCall(call, seconds) {
  let calls = 0;
  const start = performance.now();
  do {
    call(calls);
    calls += 1;
  } while (performance.now() - start < seconds * 1e3);
  return (performance.now() - start) / 1e3 / calls;
}

/** Normally distributed f32 numbers, the same in every run. */
export function normal(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

/** Throws unless two results agree to `tolerance` of the largest expected magnitude; NaN never agrees. */
export function assertClose(actual, expected, tolerance, what) {
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= tolerance * scale))
      throw new Error(`${what}: element ${i} is ${actual[i]}, the reference gives ${expected[i]}`);
  }
}
