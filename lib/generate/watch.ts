// The caller's signal and callback during one call.

/** What {@link watch} gives. */
export interface Watched<Progress> {
  signal: AbortSignal;
  report: (progress: Progress) => void;
  stop: (reason: unknown) => void;
  end(): void;
}

/**
 * The caller's signal and callback for one call: a callback that throws ends it with that error, where a timer or a stream would
 * make it an uncaught one.
 */
export function watch<Progress>(options: {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}): Watched<Progress> {
  const stop = new AbortController();
  const relay = () => stop.abort(options.signal?.reason);
  if (options.signal?.aborted) relay();
  options.signal?.addEventListener("abort", relay, { once: true });
  return {
    signal: stop.signal,
    report: (progress) => {
      if (stop.signal.aborted) return;
      try {
        options.onProgress?.(progress);
      } catch (error) {
        stop.abort(error);
      }
    },
    stop: (reason) => stop.abort(reason),
    end: () => options.signal?.removeEventListener("abort", relay),
  };
}
