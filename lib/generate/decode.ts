// The loop: prefill, then one native call per token, per drafted tree, or per few tokens or copies where these take less time than a call is worth.

import type { KvCache } from "../cache/kv-cache.ts";
import type { DraftSampling } from "../draft/drafter.ts";
import type { Ahead, Drafting } from "../draft/drafting.ts";
import type { Runtime, StepBatch } from "../model/runtime.ts";
import { type NativeAccept, type NativeBatchResult, type NativeSampler, native, want } from "../native.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { checkPrompt } from "./arguments.ts";
import type { ResolvedOptions } from "./options.ts";

// A call draws tokens ahead for so long at most: what a reader of the stream does not notice, nor an abort.
const secondsAhead = 0.016;
const mostAhead = 8; // steps, each a token or a copy
const mostCopied = 4096; // tokens, which is more than so many steps bring

/** A token with its log-probability under the raw logits. */
export interface TokenLogprob {
  token: number;
  logprob: number;
}

/** One drawn token. */
export interface DecodedToken {
  token: number;
  /** The token ends the output. */
  ends: boolean;
  logprob?: TokenLogprob & { top: TokenLogprob[] };
}

/** Where the time went; filled in while the loop runs. */
export interface DecodeStats {
  promptTokens: number;
  /** Prompt tokens that were in the KV cache already. */
  cachedTokens: number;
  generatedTokens: number;
  prefillSeconds: number;
  decodeSeconds: number;
  /** Of decodeSeconds, in kernels. */
  decodeKernelSeconds: number;
  peakScratchBytes: number;
}

export const emptyStats = (): DecodeStats => ({
  promptTokens: 0,
  cachedTokens: 0,
  generatedTokens: 0,
  prefillSeconds: 0,
  decodeSeconds: 0,
  decodeKernelSeconds: 0,
  peakScratchBytes: 0,
});

/**
 * Draws tokens as `sampling` says; trees that are verified may give others, if it has a rule for that.
 * @param history tokens that the cache holds; the engine appends what it commits
 * @param promptLength tokens before the first one drawn
 */
export function makeSampler(
  { endIds, ...options }: DraftSampling & { approximate?: NativeAccept },
  vocab: number,
  history: Int32Array,
  promptLength: number,
): NativeSampler {
  const forbidden = [...options.logitBias].filter(([, bias]) => bias === Number.NEGATIVE_INFINITY).map(([id]) => id);
  const biased = [...options.logitBias].filter(([, bias]) => bias !== Number.NEGATIVE_INFINITY);
  return new native.NativeSampler({
    vocab,
    temperature: options.temperature,
    topK: options.topK,
    topP: options.topP,
    minP: options.minP,
    typicalP: options.typicalP,
    repetitionPenalty: options.repetitionPenalty,
    frequencyPenalty: options.frequencyPenalty,
    presencePenalty: options.presencePenalty,
    seed: options.seed,
    history,
    penaltyWindow: options.penaltyWindow,
    biasIds: Int32Array.from(biased, ([id]) => id),
    bias: Float32Array.from(biased, ([, bias]) => bias),
    suppressed: Int32Array.from(options.ignoreEos ? [...forbidden, ...endIds] : forbidden),
    suppressedEarly: Int32Array.from(options.minTokens > 0 ? [...endIds, ...options.stopTokens] : []),
    minPosition: promptLength + options.minTokens,
    accept: options.approximate,
  });
}

/**
 * What a text begins with: its sampler, the tokens that end it and how many are drawn at most.
 * @param cached leading tokens of the prompt that the cache holds
 * @throws {OutriderError} OUTRIDER_ARGUMENT for an empty prompt, OUTRIDER_CONTEXT for one that does not fit.
 */
export function beginText(
  { spec: { vocab } }: Runtime,
  cache: KvCache,
  prompt: Int32Array,
  cached: number,
  endIds: readonly number[],
  options: ResolvedOptions,
): { sampler: NativeSampler; ends: ReadonlySet<number>; most: number } {
  checkPrompt(prompt);
  cache.checkRoom(prompt.length - cached);
  return {
    sampler: makeSampler({ ...options, endIds }, vocab, prompt.slice(0, cached), prompt.length),
    ends: new Set([...endIds, ...options.stopTokens]),
    most: Math.min(options.maxTokens, cache.contextLength - prompt.length + 1),
  };
}

function readLogprob(result: NativeBatchResult, count: number, at: number): DecodedToken["logprob"] {
  const { topkIds = new Int32Array(), topkValues = new Float32Array(), logsumexp = new Float32Array(1) } = result;
  const from = at * Math.max(1, count);
  const top = Array.from({ length: count }, (_, i) => ({
    token: topkIds[from + i],
    logprob: topkValues[from + i] - logsumexp[at],
  }));
  return { token: result.sampled[at], logprob: result.sampledLogprob?.[at] ?? Number.NaN, top };
}

/** A decoding under way: what a step needs and leaves. */
class Decoding {
  readonly #runtime: Runtime;
  readonly #shared: Pick<StepBatch, "caches" | "samplers" | "ends" | "topK">;
  readonly #signal: AbortSignal | undefined;
  readonly #wanted: number;

  constructor(runtime: Runtime, cache: KvCache, sampler: NativeSampler, ends: Int32Array, options: ResolvedOptions) {
    const { logprobs, signal } = options;
    this.#runtime = runtime;
    this.#shared = { caches: [cache], samplers: [sampler], ends, topK: Math.max(1, logprobs ?? 0) };
    this.#signal = signal;
    this.#wanted = want.sample | (logprobs === undefined ? 0 : want.topk);
  }

  /** Appends tokens, draws the next one and up to `repeat` in all. @param best ids of the largest logits behind each drawn token's row */
  plain(tokens: Int32Array, repeat: number, best: number): Promise<NativeBatchResult> {
    const wants = new Uint8Array(tokens.length);
    wants[tokens.length - 1] = this.#wanted | (best > 0 ? want.best : 0);
    const rows = { tokens, sequence: new Int32Array(tokens.length), wants, bestK: best };
    return this.#runtime.step({ ...this.#shared, ...rows, repeat }, this.#signal);
  }

  /** Draws tokens after the last one in so many steps, each of which copies from the text as `copies` say. @param most tokens that are drawn */
  copying(root: Int32Array, copies: Int32Array, repeat: number, most: number): Promise<NativeBatchResult> {
    const rows = { tokens: root, sequence: new Int32Array(1), parents: noParent, wants: Uint8Array.of(this.#wanted) };
    const until = { repeat, mostTokens: Math.min(most, mostCopied), mostSeconds: secondsAhead };
    return this.#runtime.step(
      { ...this.#shared, ...rows, ...until, copies, scratch: true, verify: true },
      this.#signal,
    );
  }

  /** Evaluates a tree, appends the path that is said and draws the token after it. */
  tree({ token, parent, size }: TokenTree, best: number): Promise<NativeBatchResult> {
    const wants = new Uint8Array(size).fill(this.#wanted | (best > 0 ? want.best : 0));
    const rows = { tokens: token, sequence: new Int32Array(size), parents: parent, wants, bestK: best };
    return this.#runtime.step({ ...this.#shared, ...rows, scratch: true, verify: true }, this.#signal);
  }
}

const noParent = Int32Array.of(-1);

/** Of the prompt drafters see no rows. */
const noRows = { token: new Int32Array(), parent: new Int32Array() };

/**
 * Evaluates the part of `prompt` that `cache` does not hold yet and draws tokens until an end token, `maxTokens` or a full context.
 * The cache then holds the prompt and every drawn token but the last. What is drawn does not depend on drafters, unless `options` have a rule to accept
 * drafted tokens by.
 * @param cached leading tokens of the prompt that the cache holds; fewer than the prompt has
 * @param draft starts drafters on a text; without it tokens are decoded plainly
 * @throws the signal's reason; {OutriderError} OUTRIDER_CONTEXT if the prompt does not fit.
 */
export async function* decode(
  runtime: Runtime,
  cache: KvCache,
  prompt: Int32Array,
  cached: number,
  endIds: readonly number[],
  options: ResolvedOptions,
  stats: DecodeStats,
  draft?: (text: Int32Array) => Drafting,
): AsyncGenerator<DecodedToken, void, undefined> {
  const { sampler, ends, most } = beginText(runtime, cache, prompt, cached, endIds, options);
  const decoding = new Decoding(runtime, cache, sampler, Int32Array.from(ends), options);
  const { logprobs } = options;
  stats.promptTokens = prompt.length;
  stats.cachedTokens = cached;
  let tokens = prompt.slice(cached);
  let taken = 0; // tokens the caller has seen
  let held = cached; // tokens in the cache
  let burst = 1;
  let drafting: Drafting | undefined;
  // What the loop itself takes beside the engine, drafters included and the reader of the tokens left out.
  let [own, since] = [0, performance.now()];
  try {
    while (taken < most) {
      const [root] = tokens;
      const depth = most - taken - 1;
      const proposal =
        taken > 0 && depth > 0 && drafting?.due ? await drafting.propose(depth, options.signal) : undefined;
      const best = drafting?.best ?? 0;
      // Calls that overlap take turns token by token.
      const alone = !runtime.busy;
      const repeat = Math.min(alone ? burst : 1, most - taken);
      const ahead: Ahead = drafting && !proposal ? drafting.ahead(repeat) : { repeat };
      const asked = performance.now();
      own += asked - since;
      const running = proposal
        ? decoding.tree(proposal, best)
        : ahead.copies
          ? decoding.copying(tokens, ahead.copies, alone ? mostAhead : 1, most - taken)
          : decoding.plain(tokens, ahead.repeat, best);
      running.catch(() => {}); // awaited below, after drafters have started beside it
      if (taken === 0 && draft && most > 2) drafting = draft(prompt);
      const result = await running;
      since = performance.now();
      const host = (own + since - asked) / 1e3 - result.seconds;
      own = 0;
      const { sampled } = result;
      held += proposal ? sampled.length : tokens.length + sampled.length - 1;
      stats.peakScratchBytes = Math.max(stats.peakScratchBytes, result.scratchBytes);
      if (drafting) {
        const outcome = { tokens: sampled, best: result.bestIds };
        const beside = alone && !runtime.busy ? host : undefined;
        if (taken === 0) drafting.observe({ ...outcome, rows: noRows }, best);
        else if (proposal) {
          drafting.time(proposal.size, sampled.length, result.seconds, beside);
          drafting.observe({ ...outcome, rows: proposal }, best, proposal, result.walk?.slice(1), result.byRule);
        } else {
          const { steps, proposed, seconds: engine } = result;
          drafting.plain({ root, ...outcome, steps, proposed, width: best, engine, beside });
        }
      }
      const seconds = result.seconds / sampled.length;
      for (const [i, token] of sampled.entries()) {
        if (taken === 0) stats.prefillSeconds += seconds;
        else {
          stats.decodeSeconds += seconds;
          stats.decodeKernelSeconds += result.kernelSeconds / sampled.length;
        }
        stats.generatedTokens += 1;
        taken += 1;
        const isEnd = ends.has(token);
        const logprob = logprobs === undefined ? undefined : readLogprob(result, logprobs, i);
        own += performance.now() - since;
        yield { token, ends: isEnd, logprob };
        since = performance.now();
        if (isEnd) return;
      }
      tokens = sampled.slice(-1);
      // Calls that copy end by time.
      if (taken > 1 && !ahead.copies) burst = Math.max(1, Math.min(mostAhead, Math.floor(secondsAhead / seconds)));
    }
  } finally {
    // What was drawn ahead and not taken goes again.
    const kept = prompt.length + taken - 1;
    if (taken > 0 && held > kept) {
      if (!cache.disposed) cache.truncate(kept);
      drafting?.unwanted(held - kept);
    }
    drafting?.end();
  }
}
