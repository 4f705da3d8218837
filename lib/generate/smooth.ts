// Streams at an even pace: a step with drafts brings several tokens at once, readers like them one after the other.

/** Pieces that are computed ahead of the reader at most. */
const most = 64;
/** Weight of the last piece in the mean time between pieces. */
const fresh = 1 / 16;
/** Pieces in waiting from which on the pace is raised. */
const usual = 8;
/** Milliseconds that are not worth a timer. */
const shortest = 1;

/** Where the time comes from. */
export interface Clock {
  /** Milliseconds. */
  now(): number;
  sleep(milliseconds: number): Promise<void>;
}

const clock: Clock = {
  now: () => performance.now(),
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};

/**
 * The same pieces, each at its time: the mean time between the last ones after the one before. What is due waits for nothing, and what waits keeps the
 * source from nothing: up to 64 pieces are taken ahead of the reader. Leaving the loop ends the source.
 * @param signal what waits is dropped when it is aborted; the source says what then happens
 */
export async function* smooth<T>(
  source: AsyncGenerator<T, void, undefined>,
  signal?: AbortSignal,
  time: Clock = clock,
): AsyncGenerator<T, void, undefined> {
  const waiting: T[] = [];
  let interval: number | undefined;
  let arrived = Number.NaN; // when the last piece did
  let ended = false;
  let left = false;
  let failure: { error: unknown } | undefined;
  let dropped: { error: unknown } | undefined;
  let changed = () => {};
  const change = () =>
    new Promise<void>((resolve) => {
      changed = resolve;
    });

  const pump = async () => {
    try {
      for await (const piece of source) {
        const now = time.now();
        const since = now - arrived;
        arrived = now;
        if (since >= 0) interval = interval === undefined ? since : interval + fresh * (since - interval);
        waiting.push(piece);
        changed();
        while (waiting.length >= most && !left) {
          await change();
          arrived = Number.NaN; // the reader's time is not the source's
        }
        if (left) return;
      }
    } catch (error) {
      failure = { error };
    } finally {
      ended = true;
      changed();
    }
  };
  let stop = () => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
  });
  signal?.addEventListener("abort", stop, { once: true });
  const pumping = pump();
  let due = time.now();
  try {
    for (;;) {
      while (waiting.length === 0 && !ended) await change();
      if (waiting.length === 0) break;
      const wait = due - time.now();
      if (wait >= shortest) await Promise.race([time.sleep(wait), aborted]);
      if (signal?.aborted) {
        dropped = { error: signal.reason };
        break;
      }
      const piece = waiting.shift() as T;
      if (waiting.length + 1 === most) changed();
      yield piece;
      const pace = (interval ?? 0) / Math.max(1, waiting.length / usual);
      due = Math.max(due, time.now() - pace) + pace;
    }
  } finally {
    left = true;
    changed();
    await pumping;
    signal?.removeEventListener("abort", stop);
  }
  const over = failure ?? dropped;
  if (over) throw over.error;
}
