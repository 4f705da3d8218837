// The value of a native job that nobody aborts.
export async function settled<T>(job: { promise: Promise<T | null> }): Promise<T> {
  const value = await job.promise;
  if (value === null) throw new Error("aborted");
  return value;
}
