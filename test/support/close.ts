// Comparison by inclusion: a value passes when |actual - expected| <= tolerance is true, so NaN fails by itself.

/** Unit roundoff of f32: the relative error of one rounding. */
export const unit = 2 ** -24;

/** Below this, f32 loses bits to underflow. */
export const tiny = 2 ** -126;

/** Result of a float64 reference: the value and how far an f32 kernel may be from it. */
export interface Expected {
  value: ArrayLike<number>;
  tolerance: ArrayLike<number>;
}

/** Throws unless every element is within its tolerance; names the worst one. */
export function expectClose(actual: ArrayLike<number>, { value, tolerance }: Expected, what: string): void {
  if (actual.length !== value.length) throw new Error(`${what}: ${actual.length} values, expected ${value.length}`);
  let worst = -1;
  let excess = 0;
  for (let i = 0; i < value.length; i++) {
    const error = Math.abs(actual[i] - value[i]);
    if (error <= tolerance[i]) continue;
    const ratio = Number.isNaN(error / tolerance[i]) ? Number.POSITIVE_INFINITY : error / tolerance[i];
    if (worst < 0 || ratio > excess) [worst, excess] = [i, ratio];
  }
  if (worst < 0) return;
  throw new Error(
    `${what}: element ${worst} is ${actual[worst]}, expected ${value[worst]} within ${tolerance[worst]} (${excess} times that)`,
  );
}

/** Throws unless every element is NaN. */
export function expectNaN(actual: ArrayLike<number>, what: string): void {
  const at = Array.from(actual).findIndex((value) => !Number.isNaN(value));
  if (at >= 0) throw new Error(`${what}: element ${at} is ${actual[at]}, expected NaN`);
}
