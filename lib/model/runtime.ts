// A loaded model as the rest of lib/ sees it: one call per step, with abort and orderly disposal.

import { KvCache } from "../cache/kv-cache.ts";
import { OutriderError } from "../errors.ts";
import type {
  DecoderSpec,
  KvFormat,
  Level,
  NativeBatch,
  NativeBatchResult,
  NativeJob,
  NativeModel,
} from "../native.ts";

/** How a model computes; fixed at load. */
export interface RuntimeOptions {
  threads: number;
  /** Round activations to what each weight format multiplies fastest: int8 for affine, bf16 for bf16. */
  rounded: boolean;
  kv: KvFormat;
  /** Tokens a sequence may hold; at most what the model was trained for. */
  contextLength: number;
  /** CPU level; undefined: the one of the process. */
  level?: Level;
}

/** A batch without what the runtime itself knows. */
export type StepBatch = Omit<NativeBatch, "rounded" | "threads" | "level" | "sequences"> & {
  caches: KvCache[];
  /** @default those of the model */
  threads?: number;
};

/** Waits for an engine job; an aborted one rejects with the reason of the signal. */
export async function settle<T>(
  job: NativeJob<T>,
  signal: AbortSignal | undefined,
  disposed: () => boolean,
): Promise<T> {
  const stop = () => job.abort();
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop(); // a listener on a signal that has been aborted is never called
  try {
    const value = await job.promise;
    if (value !== null) return value;
    if (disposed()) throw new OutriderError("OUTRIDER_DISPOSED", "The model was disposed while a call was running");
    signal?.throwIfAborted();
    throw new OutriderError("OUTRIDER_INTERNAL", "A job stopped without a reason");
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** Weights, their decoder and the way they are computed. */
export class Runtime {
  readonly spec: DecoderSpec;
  readonly options: RuntimeOptions;
  readonly fingerprint: bigint;
  /** Packed bytes of the weights in memory. */
  readonly weightBytes: number;
  readonly #native: NativeModel;
  readonly #active = new Set<NativeJob<NativeBatchResult>>();
  #beside = 0; // of the active jobs
  #disposed = false;

  constructor(native: NativeModel, spec: DecoderSpec, options: RuntimeOptions) {
    this.#native = native;
    this.spec = spec;
    this.options = options;
    const { bytes, fingerprint } = native.info();
    this.weightBytes = bytes;
    this.fingerprint = fingerprint;
  }

  /** True while calls of this model are on the engine and take turns with each other; those beside it do not. */
  get busy(): boolean {
    return this.#active.size > this.#beside;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  #checkLive(): void {
    if (this.#disposed)
      throw new OutriderError("OUTRIDER_DISPOSED", "Expected a live model, received one that was disposed");
  }

  /** An empty KV cache. */
  newCache(): KvCache {
    this.#checkLive();
    const { contextLength, kv } = this.options;
    return new KvCache(this.#native.sequence(kv), this.spec, kv, this.fingerprint, contextLength);
  }

  /**
   * Evaluates a batch. Caches are as before if it rejects.
   * @throws the signal's reason when aborted; {OutriderError} OUTRIDER_CONTEXT, OUTRIDER_BUSY, OUTRIDER_MEMORY, OUTRIDER_DISPOSED.
   */
  async step({ caches, ...batch }: StepBatch, signal?: AbortSignal): Promise<NativeBatchResult> {
    this.#checkLive();
    signal?.throwIfAborted();
    if (!batch.scratch || batch.verify) this.#checkRoom(caches, batch);
    const { rounded, level } = this.options;
    const threads = batch.threads ?? this.options.threads;
    const job = this.#native.run({ ...batch, sequences: caches.map((cache) => cache.native), rounded, threads, level });
    this.#active.add(job);
    if (batch.beside) this.#beside += 1;
    try {
      return await settle(job, signal, () => this.#disposed);
    } finally {
      this.#active.delete(job);
      if (batch.beside) this.#beside -= 1;
    }
  }

  /** Room for what the batch may append: its rows, or the longest path of its trees. */
  #checkRoom(caches: KvCache[], { sequence, parents, verify }: Omit<StepBatch, "caches">): void {
    const counts = new Map<number, number>();
    const depth = new Int32Array(sequence.length);
    for (const [i, s] of sequence.entries()) {
      depth[i] = verify && parents ? (depth[parents[i]] ?? 0) + 1 : (counts.get(s) ?? 0) + 1;
      counts.set(s, Math.max(counts.get(s) ?? 0, depth[i]));
    }
    for (const [s, count] of counts) caches[s]?.checkRoom(count);
  }

  /** Stops running calls, waits for them and frees the weights, unless another load shares them. Idempotent. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    const running = [...this.#active];
    for (const job of running) job.abort();
    await Promise.allSettled(running.map((job) => job.promise));
    this.#native.dispose();
  }
}
