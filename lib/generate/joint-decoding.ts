// Several texts drawn at once: every call has a row of each, so that weights are read once for all of them.

import type { KvCache } from "../cache/kv-cache.ts";
import type { Runtime } from "../model/runtime.ts";
import { type NativeSampler, want } from "../native.ts";
import { beginText } from "./decode.ts";
import type { ResolvedOptions } from "./options.ts";

/** A text under way. */
interface Member {
  cache: KvCache;
  sampler: NativeSampler;
  /** What the next call evaluates of it. */
  rows: Int32Array;
  /** Tokens drawn so far, and how many there will be at most. */
  tokens: number[];
  most: number;
  ends: ReadonlySet<number>;
  done(tokens: number[]): void;
  failed(error: unknown): void;
}

/** What may share calls: to the token, each text is what it would be alone. */
export class JointDecoding {
  readonly #runtime: Runtime;
  readonly #endIds: readonly number[];
  readonly #signal: AbortSignal | undefined;
  readonly #members = new Set<Member>();
  #running = false;

  /** @param signal ends all texts */
  constructor(runtime: Runtime, endIds: readonly number[], signal?: AbortSignal) {
    this.#runtime = runtime;
    this.#endIds = endIds;
    this.#signal = signal;
  }

  /**
   * Draws the tokens that follow a prompt, an end token included, beside those of the calls that have not settled yet. Drafters, stop strings and
   * log-probabilities have no part in it.
   * @throws the signal's reason; {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_CONTEXT, OUTRIDER_DISPOSED. An error of a call ends all texts of it.
   */
  async draw(prompt: Int32Array, options: ResolvedOptions): Promise<number[]> {
    const cache = this.#runtime.newCache();
    try {
      const { sampler, ends, most } = beginText(this.#runtime, cache, prompt, 0, this.#endIds, options);
      if (most < 1) return [];
      return await new Promise((done, failed) => {
        this.#members.add({ cache, sampler, rows: prompt, tokens: [], most, ends, done, failed });
        if (!this.#running) this.#run();
      });
    } finally {
      cache.dispose();
    }
  }

  async #run(): Promise<void> {
    this.#running = true;
    await undefined; // whoever calls at the same time is in the first call too
    while (this.#members.size > 0) {
      const members = [...this.#members];
      try {
        await this.#step(members);
      } catch (error) {
        for (const member of members) {
          this.#members.delete(member);
          member.failed(error);
        }
      }
    }
    this.#running = false;
  }

  async #step(members: readonly Member[]): Promise<void> {
    const count = members.reduce((sum, { rows }) => sum + rows.length, 0);
    const [tokens, sequence, wants] = [new Int32Array(count), new Int32Array(count), new Uint8Array(count)];
    let at = 0;
    for (const [i, { rows }] of members.entries()) {
      tokens.set(rows, at);
      sequence.fill(i, at, at + rows.length);
      at += rows.length;
      wants[at - 1] = want.sample;
    }
    const caches = members.map(({ cache }) => cache);
    const samplers = members.map(({ sampler }) => sampler);
    const { sampled } = await this.#runtime.step({ caches, samplers, tokens, sequence, wants }, this.#signal);
    for (const [i, member] of members.entries()) {
      const token = sampled[i];
      member.tokens.push(token);
      member.rows = Int32Array.of(token);
      if (member.tokens.length < member.most && !member.ends.has(token)) continue;
      this.#members.delete(member);
      member.done(member.tokens);
    }
  }
}
