// The KV cache of one sequence, with the tokens it holds.

import { badArgument, OutriderError } from "../errors.ts";
import {
  type DecoderSpec,
  type KvFormat,
  type NativeJob,
  type NativeSampler,
  type NativeSequence,
  native,
} from "../native.ts";
import { inPieces } from "./pieces.ts";

/** The result of a job that nobody aborts. */
async function settle<T>(job: NativeJob<T>): Promise<T> {
  const value = await job.promise;
  if (value === null) throw new OutriderError("OUTRIDER_INTERNAL", "A snapshot job stopped without a reason");
  return value;
}

/** Keys and values of one sequence. Made by a model; dispose() frees the pages it does not share. */
export class KvCache {
  readonly #native: NativeSequence;
  #disposed = false;
  readonly #spec: DecoderSpec;
  readonly #format: KvFormat;
  readonly #fingerprint: bigint;
  readonly contextLength: number;

  constructor(native: NativeSequence, spec: DecoderSpec, format: KvFormat, fingerprint: bigint, contextLength: number) {
    this.#native = native;
    this.#spec = spec;
    this.#format = format;
    this.#fingerprint = fingerprint;
    this.contextLength = contextLength;
  }

  /** The native sequence, for the engine batch. */
  get native(): NativeSequence {
    return this.#native;
  }

  /** Committed tokens. */
  get length(): number {
    return this.#native.length();
  }

  /** Bytes of all pages, those shared with forks included. */
  get bytes(): number {
    return this.#native.bytes();
  }

  /** What the same tokens would take in f16. */
  get bytesF16(): number {
    return this.#format === "f32" ? this.bytes / 2 : this.bytes;
  }

  /** @throws {OutriderError} OUTRIDER_CONTEXT unless `count` more tokens fit. */
  checkRoom(count: number): void {
    if (this.length + count > this.contextLength) {
      throw new OutriderError(
        "OUTRIDER_CONTEXT",
        `Expected at most ${this.contextLength} tokens in the context, received ${this.length + count}`,
      );
    }
  }

  /** Drops tokens from `length` on. */
  truncate(length: number): void {
    if (!Number.isSafeInteger(length) || length < 0 || length > this.length)
      throw badArgument("length", `an integer from 0 to ${this.length}`, length);
    this.#native.truncate(length);
  }

  /** A cache with the same tokens; pages are shared until one of the two writes. */
  fork(): KvCache {
    return new KvCache(this.#native.fork(), this.#spec, this.#format, this.#fingerprint, this.contextLength);
  }

  /**
   * Appends a path of rows of the last scratch step, root first, and forgets the others. The sampler that draws for this sequence
   * sees their tokens from then on.
   */
  commit(rows: Int32Array | readonly number[], sampler?: NativeSampler): void {
    this.checkRoom(rows.length);
    this.#native.commit(Int32Array.from(rows), sampler);
  }

  /** A versioned, checksummed image, written off the event loop. */
  async save(): Promise<Uint8Array> {
    return settle(this.#native.save(this.#fingerprint));
  }

  /**
   * Replaces the content by a snapshot of the same model and KV format.
   * @throws {OutriderError} OUTRIDER_SNAPSHOT for damage and foreign snapshots; the cache is then as it was.
   */
  async restore(snapshot: Uint8Array): Promise<void> {
    if (!(snapshot instanceof Uint8Array)) throw badArgument("snapshot", "a Uint8Array", snapshot);
    // A copy in native memory: the caller may transfer, shrink or overwrite its bytes while the engine reads.
    const bytes = native.snapshotBytes(snapshot.byteLength);
    await inPieces("snapshot", snapshot, (piece, offset) => native.writeSnapshotBytes(bytes, offset, piece));
    await settle(this.#native.restore(this.#fingerprint, bytes, this.contextLength));
  }

  /** Whether dispose() has been called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  dispose(): void {
    this.#disposed = true;
    this.#native.dispose();
  }
}
