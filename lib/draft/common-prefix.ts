/** How many leading tokens of `a` are those of `b` from `from` on. */
export function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>, from = 0): number {
  const most = Math.min(a.length, b.length - from);
  let count = 0;
  while (count < most && a[count] === b[from + count]) count += 1;
  return count;
}
