// Goodness of fit of counts to a law.

/**
 * How far counts are from a law, in standard deviations of a normal distribution (Wilson-Hilferty): above 3.72 has a probability of 1e-4.
 * Cells are pooled until each expects at least five; counts where the law has nothing give Infinity.
 */
export function deviation(counts: Map<string, number>, law: Map<string, number>): number {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  for (const key of counts.keys()) if (!((law.get(key) ?? 0) > 0)) return Number.POSITIVE_INFINITY;
  let statistic = 0;
  let cells = 0;
  let [expected, seen] = [0, 0];
  const close = () => {
    statistic += (seen - expected) ** 2 / expected;
    cells += 1;
    [expected, seen] = [0, 0];
  };
  const sorted = [...law].sort((a, b) => b[1] - a[1]);
  let ahead = total;
  for (const [key, probability] of sorted) {
    expected += probability * total;
    seen += counts.get(key) ?? 0;
    ahead -= probability * total;
    if (expected >= 5 && ahead >= 5) close();
  }
  if (expected > 0) close();
  const freedom = cells - 1;
  const spread = 2 / (9 * freedom);
  return (Math.cbrt(statistic / freedom) - (1 - spread)) / Math.sqrt(spread);
}
