// Hostile drafters: whatever they return, throw or keep, and whatever options ours are given, the text is the model's own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { copy } from "../../lib/draft/copy.ts";
import type { Drafter } from "../../lib/draft/drafter.ts";
import { Drafting } from "../../lib/draft/drafting.ts";
import { input } from "../../lib/draft/input.ts";
import { ngram } from "../../lib/draft/ngram.ts";
import { recycle } from "../../lib/draft/recycle.ts";
import { suffix } from "../../lib/draft/suffix.ts";
import { decode, emptyStats } from "../../lib/generate/decode.ts";
import { resolveOptions } from "../../lib/generate/options.ts";
import { TokenTree } from "../../lib/tree/token-tree.ts";
import { contextOf, Eager } from "./eager.ts";
import { accepted, type Target } from "./hostile-target.ts";
import { writeMicroFolder } from "./micro-model.ts";
import { below, mutateJson, pick, type Random } from "./mutate.ts";
import { openRuntime } from "./runtime.ts";

const prompt = Int32Array.of(2, 3, 4, 2, 3, 4, 2, 3);

/** Numbers that are no good as tokens, parents or reaches, and some that are. */
const odd = [
  -1,
  0,
  1,
  2,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 31,
  -(2 ** 31),
  2 ** 40,
  undefined,
  null,
  "3",
];

function column(next: Random, length: number, good: (i: number) => number): number[] {
  const values = Array.from({ length }, (_, i) => (next() < 0.05 ? (pick(next, odd) as number) : good(i)));
  return next() < 0.05 ? values.slice(0, below(next, length + 1)) : values;
}

/** An error whose message cannot be read. */
const misleading = Object.defineProperty(new Error("a"), "message", {
  get() {
    throw new Error("no message");
  },
});

/** What a drafter returns: mostly a tree of some kind, at times anything. */
function proposal(next: Random, root: number, vocab: number): unknown {
  const roll = next();
  if (roll < 0.05) return pick(next, [null, 5, "tree", {}, [], () => 1, { token: [root], parent: [-1] }]);
  if (roll < 0.1) throw pick<unknown>(next, [new Error("broken"), "text", undefined, null, { message: 5 }, misleading]);
  const size = 1 + below(next, pick(next, [3, 12, 100, 300]));
  const tree = new TokenTree({
    token: column(next, size, (i) => (i === 0 ? root : below(next, vocab))),
    parent: column(next, size, (i) => below(next, i + 1) - (i === 0 ? 1 : 0)),
    reach: next() < 0.5 ? column(next, size, () => next()) : undefined,
  });
  if (next() < 0.2) {
    // What was checked once may be written to afterwards.
    const victim = pick(next, [tree.token, tree.parent, tree.reach, tree.depth, tree.source]);
    victim[below(next, victim.length)] = pick(next, odd) as number;
  }
  return tree;
}

/** Writes to whatever it was given; what is frozen says so by throwing, as it would in the drafter. */
function spoil(next: Random, victims: unknown[]): void {
  const victim = pick(next, victims) as Record<string, unknown> | undefined;
  if (victim instanceof Map) victim.set(1, Number.NaN);
  else if (Array.isArray(victim)) victim.push(3, 4, 5);
  else if (victim) victim[pick(next, [...Object.keys(victim), "x"])] = pick(next, odd);
}

/** How a drafter says that it copies: mostly as it should. */
function copies(next: Random): never {
  if (next() < 0.1) return pick(next, [null, 5, "all", [], () => 1]) as never;
  const number = (most: number) => (next() < 0.1 ? pick(next, odd) : 1 + below(next, most));
  const sure = () => (next() < 0.002 ? pick(next, [...odd, Symbol("sure"), 5n]) : next() ** 0.5);
  return { least: number(8), most: number(255), sure: next() < 0.05 ? pick(next, odd) : sure } as never;
}

function hostile(next: Random, vocab: number): Drafter {
  return {
    name: "hostile",
    best: next() < 0.3 ? 0 : below(next, 65),
    start(tokens, context, sampling) {
      if (next() < 0.2) spoil(next, [sampling, sampling.endIds, sampling.stopTokens, sampling.logitBias]);
      if (next() < 0.1) spoil(next, [context]);
      context.bytesOf(below(next, vocab)).fill(65);
      if (next() < 0.02) throw new Error("no start");
      if (next() < 0.02) return pick(next, [undefined, null, {}, 5, Promise.resolve()]) as never;
      let root = tokens[tokens.length - 1];
      const kept: (Int32Array | undefined)[] = [tokens as Int32Array];
      return {
        copies: next() < 0.7 ? undefined : copies(next),
        propose(budget) {
          if (next() < 0.3) budget.depth = 1e9;
          if (next() < 0.1) spoil(next, [budget, budget.costs]);
          for (const array of kept) if (next() < 0.1) array?.fill(1);
          const answer = () => proposal(next, next() < 0.95 ? root : below(next, vocab), vocab) as TokenTree;
          if (next() < 0.2) return new Promise((resolve) => setImmediate(resolve)).then(answer);
          return next() < 0.1 ? undefined : answer();
        },
        observe({ tokens: more, rows, best }) {
          root = more[more.length - 1] ?? root;
          kept.push(more, rows.token, rows.parent, best);
          if (next() < 0.02) throw new Error("no observation");
          if (next() < 0.02) return Promise.reject(new Error("later")) as never;
        },
        end() {
          if (next() < 0.1) throw new Error("no end");
        },
      };
    },
  };
}

const ours: [(options: never) => Drafter, object][] = [
  [copy, { match: "latest", minMatch: 1, maxMatch: 3, maxTokens: 8 }],
  [copy, { match: "longest", minMatch: 2 }],
  [ngram, { n: 3, explore: 0.5, corpus: [2, 3, 4, 5] }],
  [suffix, { depth: 4 }],
  [recycle, { width: 4 }],
  [input, { source: [2, 3, 4, 2, 3, 4] }],
];

/** Drafters: wrong options of ours, and others that misbehave in every way that JavaScript has. */
export async function draftTarget(): Promise<Target> {
  const folder = mkdtempSync(path.join(tmpdir(), "outrider-hostile-"));
  writeMicroFolder(folder);
  const runtime = await openRuntime(folder, { threads: 1 });
  const { vocab } = runtime.spec;
  const texts = new Map<number, string>();

  const text = async (temperature: number, drafters: readonly Drafter[]): Promise<string> => {
    const options = resolveOptions({ maxTokens: 16, seed: 5, temperature }, {}, vocab);
    const cache = runtime.newCache();
    const tokens: number[] = [];
    const start = (all: Int32Array) =>
      new Drafting(drafters, new Eager(), all, contextOf(vocab), { ...options, endIds: [] });
    try {
      const draft = drafters.length > 0 ? start : undefined;
      for await (const { token } of decode(runtime, cache, prompt, 0, [], options, emptyStats(), draft))
        tokens.push(token);
    } finally {
      cache.dispose();
    }
    return tokens.join(" ");
  };

  const once = async (next: Random) => {
    const temperature = pick(next, [0, 1]);
    const drafters: Drafter[] = [];
    const emitWarning = process.emitWarning;
    process.emitWarning = () => {}; // drafters that are switched off say so, thousands of times here
    try {
      if (next() < 0.7) drafters.push(hostile(next, vocab));
      if (next() < 0.5) {
        const [make, options] = pick(next, ours);
        const changed = next() < 0.7 ? mutateJson(options, next) : options;
        if (!(await accepted(async () => drafters.push(make(changed as never))))) return false;
      }
      const said = await text(temperature, drafters);
      const plain = texts.get(temperature) ?? (await text(temperature, []));
      texts.set(temperature, plain);
      if (said !== plain) throw new Error(`drafters changed a text: ${said} instead of ${plain}`);
      return true;
    } finally {
      await new Promise((resolve) => setImmediate(resolve)); // what was left behind fails while nobody listens
      process.emitWarning = emitWarning;
    }
  };
  const close = async () => {
    await runtime.dispose();
    rmSync(folder, { recursive: true, force: true });
  };
  return { once, close };
}
