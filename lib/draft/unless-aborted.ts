// Waiting that an AbortSignal ends.

/** What a promise gives; rejects with the reason of the signal if that is aborted before. Nothing is left behind in the signal. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
  });
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop(); // a listener on a signal that has been aborted is never called
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", stop));
}
