// Trees of a draft model at work on a text, without a policy: what a session keeps from step to step is what a fresh one computes.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ChainLength } from "../../lib/draft/chain-length.ts";
import type { DraftBudget, DraftCosts, DraftSampling, DraftSession } from "../../lib/draft/drafter.ts";
import type { Shape } from "../../lib/draft/shapes/growth.ts";
import { type DraftShape, shapeMaker } from "../../lib/draft/shapes/options.ts";
import { resolveOptions } from "../../lib/generate/options.ts";
import { type ModelParts, partsOf } from "../../lib/generate/parts.ts";
import { TreeDrafts } from "../../lib/generate/tree-drafts.ts";
import { draftModel, load, type Model } from "../../lib/index.ts";
import type { StepBatch } from "../../lib/model/runtime.ts";
import type { TokenTree } from "../../lib/tree/token-tree.ts";
import { costsOf } from "../support/eager.ts";
import { uniform } from "../support/random.ts";
import { greedySampler } from "../support/sampler-options.ts";
import { tinyModel } from "../support/tiny.ts";

let model: Model;
let parts: ModelParts;
let text: Int32Array;
beforeAll(async () => {
  model = await load(tinyModel);
  parts = partsOf(model) as ModelParts;
  text = parts.tokenizer.encode("The old house at the end of the lane had been empty for");
});
afterAll(() => model.dispose());

const shapes: DraftShape[] = [
  { kind: "constant", branching: [3, 2, 2] },
  { kind: "beam", width: 4, depth: 4 },
  { kind: "paths", count: 4, depth: 4 },
  { kind: "dynamic", nodes: 20, depth: 5 },
  { kind: "static", nodes: 20, depth: 5 },
  { kind: "confidence", width: 3, nodes: 12, depth: 5 },
];
const samplingOf = (options: object): DraftSampling => ({
  ...resolveOptions({ seed: 11, ...options }, {}, parts.runtime.spec.vocab),
  endIds: [],
});
const budget: DraftBudget = { nodes: 63, depth: 16 };

/** Calls `run` and gives the batches of the model's steps meanwhile. */
async function stepsOf(run: () => Promise<unknown>, before: (count: number) => void = () => {}): Promise<StepBatch[]> {
  const { runtime } = parts;
  const steps: StepBatch[] = [];
  const step = runtime.step.bind(runtime);
  const spy = vi.spyOn(runtime, "step").mockImplementation(async (batch, signal) => {
    before(steps.length);
    steps.push(batch);
    return step(batch, signal);
  });
  await run().finally(() => spy.mockRestore());
  return steps;
}

describe.each(shapes)("%j", (shape) => {
  test.each<[string, object]>([
    ["greedy", { temperature: 0 }],
    ["sampled with penalties", { temperature: 0.9, repetitionPenalty: 1.3, frequencyPenalty: 0.2, penaltyWindow: 20 }],
  ])("%s: whatever the text took of the trees before, the next tree is that of a fresh session", async (_, options) => {
    const drafter = draftModel(model, { shape });
    const context = parts.draftContext;
    await drafter.prepare?.(context);
    const sampling = samplingOf(options);
    const whole = [...text];
    const old = drafter.start(whole, context, sampling);
    const next = uniform(3);
    for (let i = 0; i < 12; i++) {
      const fresh = drafter.start(whole, context, sampling);
      const [kept, computed] = [await old.propose(budget), await fresh.propose(budget)] as TokenTree[];
      fresh.end?.();
      expect(kept.token).toEqual(computed.token);
      expect(kept.parent).toEqual(computed.parent);
      expect(kept.reach).toEqual(computed.reach);
      // Down the tree at random, for a while, and out of it.
      const tokens: number[] = [];
      for (let node = 0; next() < 0.8; ) {
        const children = kept.children(node);
        if (children.length === 0) break;
        node = children[Math.floor(next() * children.length)];
        tokens.push(kept.token[node]);
      }
      tokens.push(Math.floor(next() * context.vocab));
      const cut = next() < 0.3 ? 1 : tokens.length; // what was drafted after it is still there, and not the text
      const rows = { token: kept.token, parent: kept.parent };
      old.observe({ tokens: Int32Array.from(tokens.slice(0, cut)), rows });
      if (cut < tokens.length && next() < 0.5) old.observe({ tokens: Int32Array.from(tokens.slice(cut)), rows });
      else tokens.length = cut;
      whole.push(...tokens);
    }
    old.end?.();
  });

  test("after a level that failed the next tree is right", async () => {
    const drafter = draftModel(model, { shape });
    const context = parts.draftContext;
    await drafter.prepare?.(context);
    const sampling = samplingOf({ temperature: 0.7 });
    const old = drafter.start(text, context, sampling);
    const rows = { token: new Int32Array(1), parent: Int32Array.of(-1) };
    const failing = stepsOf(
      async () => old.propose(budget),
      (count) => {
        if (count === 2) throw new Error("no more");
      },
    );
    await expect(failing).rejects.toThrow("no more");
    old.observe({ tokens: Int32Array.of(7, 8), rows });
    const fresh = drafter.start([...text, 7, 8], context, sampling);
    const [kept, computed] = [await old.propose(budget), await fresh.propose(budget)] as TokenTree[];
    expect([kept.token, kept.parent]).toEqual([computed.token, computed.parent]);
    for (const session of [old, fresh]) session.end?.();
  });

  test("what rows take decides how many the draft model evaluates", async () => {
    const rowsAt = async (costs: DraftCosts) => {
      const drafter = draftModel(model, { shape });
      await drafter.prepare?.(parts.draftContext);
      const session: DraftSession = drafter.start(text, parts.draftContext, samplingOf({ temperature: 0.8 }));
      const rows = { token: new Int32Array(1), parent: Int32Array.of(-1) };
      await session.propose({ ...budget, costs }); // times are known after it
      for (const token of [5, 6]) {
        session.observe({ tokens: Int32Array.of(token), rows });
        if (token === 5) await session.propose({ ...budget, costs });
      }
      const steps = await stepsOf(async () => session.propose({ ...budget, costs }));
      session.end?.();
      return steps.reduce((sum, { tokens, scratch }) => sum + (scratch ? (tokens?.length as number) : 0), 0);
    };
    // Seconds that no draft comes near, so that this machine's own play no part.
    const free = await rowsAt(costsOf(() => 1000, 1000));
    const dear = await rowsAt(costsOf((rows) => 1000 + 250 * (rows - 1), 1000));
    const past = await rowsAt(costsOf((rows) => 1000 * rows, 1000));
    expect(free).toBeGreaterThan(dear);
    expect(dear).toBeGreaterThan(past);
    expect(past).toBe(0);
  });
});

test("a tree is judged once, and only as far as something was drawn", async () => {
  const notes: [string, ...unknown[]][] = [];
  class Noted extends ChainLength {
    override observe(right: number, wrong: boolean): void {
      notes.push(["right", right, wrong]);
    }
    override skipped(tokens: number): void {
      notes.push(["skipped", tokens]);
    }
  }
  const { runtime } = parts;
  const make = shapeMaker({ kind: "constant", branching: [2, 2] }) as () => Shape;
  const length = new Noted(2);
  const other = (taken: readonly number[]) => [0, 1, 2].find((id) => !taken.includes(id)) as number;
  const grown = async () => {
    const trees = new TreeDrafts(runtime, make(), (id) => id, samplingOf({ temperature: 0 }), 0);
    const soil = { cache: runtime.newCache(), sampler: greedySampler(runtime.spec.vocab), tokens: text };
    const { tree } = await trees.grow({ ...soil, root: text[0], depth: 2 }, budget, new AbortController().signal);
    return { trees, tree: tree as TokenTree };
  };
  const { trees, tree } = await grown();
  expect(tree.size).toBe(1 + 2 + 4);
  const child = tree.children(0)[1];
  const leaf = tree.children(child)[0];
  const tokensOf = (nodes: Int32Array) => Array.from(nodes, (node) => tree.token[node]);
  trees.learn(length, [tree.token[child], tree.token[leaf], 9]);
  trees.learn(length, [tree.token[child]]);
  const second = await grown();
  second.trees.learn(length, [tree.token[child], other(tokensOf(tree.children(child))), 4]);
  const third = await grown();
  third.trees.learn(length, [other(tokensOf(tree.children(0)))]);
  expect(notes).toEqual([
    ["right", 2, false],
    ["skipped", 1],
    ["right", 1, true],
    ["right", 0, true],
  ]);
});

test("draws that the model does not have are left out, and nothing hangs on them", async () => {
  const { runtime } = parts;
  for (const shape of shapes) {
    const odd = new TreeDrafts(runtime, (shapeMaker(shape) as () => Shape)(), (id) => (id % 2 ? id + 1000 : undefined), samplingOf({ temperature: 0 }), 0); // biome-ignore format: a line
    const soil = { cache: runtime.newCache(), sampler: greedySampler(runtime.spec.vocab), tokens: text };
    const { tree } = await odd.grow({ ...soil, root: 3, depth: 4 }, budget, new AbortController().signal);
    expect(Array.from(tree?.token.slice(1) ?? []).every((id) => id > 1000 && id % 2 === 1)).toBe(true);
    expect(tree?.size).toBeGreaterThan(1);
    const none = new TreeDrafts(runtime, (shapeMaker(shape) as () => Shape)(), () => undefined, samplingOf({}), 0);
    const empty = { ...soil, cache: runtime.newCache() };
    expect(
      (await none.grow({ ...empty, root: 3, depth: 4 }, budget, new AbortController().signal)).tree,
    ).toBeUndefined();
  }
});
