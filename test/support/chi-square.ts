// Goodness of fit of counts to a law.

/** Pearson's statistic of counts against probabilities; expected counts below 5 are pooled. */
export function chiSquare(counts: readonly number[], probabilities: readonly number[]): { value: number; df: number } {
  const total = counts.reduce((a, b) => a + b, 0);
  let [value, cells, restCount, restExpected] = [0, 0, 0, 0];
  counts.forEach((count, i) => {
    const expected = total * probabilities[i];
    if (expected < 5) {
      restCount += count;
      restExpected += expected;
      return;
    }
    cells += 1;
    value += (count - expected) ** 2 / expected;
  });
  if (restExpected >= 5) {
    cells += 1;
    value += (restCount - restExpected) ** 2 / restExpected;
  }
  return { value, df: Math.max(cells - 1, 1) };
}

/** The value a chi-square variable exceeds once in a million, by Wilson and Hilferty (4.7534 is that normal quantile). */
export function chiSquareLimit(df: number): number {
  return df * (1 - 2 / (9 * df) + 4.7534 * Math.sqrt(2 / (9 * df))) ** 3;
}

/** Whether counts may come from a law; what the law never gives must not have been counted. */
export function fits(counts: ReadonlyMap<string, number>, law: ReadonlyMap<string, number>): boolean {
  for (const key of counts.keys()) if (!((law.get(key) ?? 0) > 0)) return false;
  const keys = [...law.keys()];
  const seen = keys.map((key) => counts.get(key) ?? 0);
  const { value, df } = chiSquare(
    seen,
    keys.map((key) => law.get(key) ?? 0),
  );
  return value < chiSquareLimit(df);
}
