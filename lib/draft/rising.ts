/** Nearest values that never fall, by weights (pool adjacent violators). */
export function rising(values: ArrayLike<number>, weights: ArrayLike<number>): Float64Array {
  const pools: { value: number; weight: number; count: number }[] = [];
  for (let i = 0; i < values.length; i++) {
    pools.push({ value: values[i], weight: weights[i], count: 1 });
    for (let at = pools.length - 1; at > 0 && pools[at - 1].value > pools[at].value; at--) {
      const [a, b] = pools.splice(at - 1, 2);
      const weight = a.weight + b.weight;
      const value = (a.value * a.weight + b.value * b.weight) / weight;
      pools.splice(at - 1, 0, { value, weight, count: a.count + b.count });
    }
  }
  return Float64Array.from(pools.flatMap(({ value, count }) => Array<number>(count).fill(value)));
}
