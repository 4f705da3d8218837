// Trees that a draft model grows behind a text: one native call a level, and no row twice.

import type { KvCache } from "../cache/kv-cache.ts";
import type { ChainLength } from "../draft/chain-length.ts";
import type { DraftBudget, DraftSampling } from "../draft/drafter.ts";
import type { Growth, Shape } from "../draft/shapes/growth.ts";
import { type Drawn, drawnOf, Sketch } from "../draft/shapes/sketch.ts";
import type { Runtime } from "../model/runtime.ts";
import { type NativeBatchResult, type NativeSampler, want } from "../native.ts";
import { sampleUniform } from "../ops/index.ts";
import { prune } from "../tree/build.ts";
import { maxTreeNodes, TokenTree } from "../tree/token-tree.ts";

/** What a tree grows from. */
export interface Soil {
  /** Holds the text but for `tokens`. */
  cache: KvCache;
  /** Draws behind the text. */
  sampler: NativeSampler;
  /** The last tokens of the text, the root among them, as the draft model has them; one at least. */
  tokens: Int32Array;
  /** The root as the model has it. */
  root: number;
  /** Levels at most. */
  depth: number;
}

/** A tree of which the text after the root is still to come. */
interface Grown {
  sketch: Sketch;
  growth: Growth;
  /** What was drawn behind each node that was evaluated. */
  drawn: Map<number, Drawn[]>;
  /** Scratch slot of each node that was evaluated, but for the root. */
  slots: Map<number, number>;
  /** Nodes that are proposed, in order. */
  kept: readonly number[];
}

/** Reach below which nodes are not continued: what hangs on them brings less than its rows take the model. */
function leastReach({ nodes, costs }: DraftBudget): number {
  if (!costs || nodes < 1) return 0;
  return (costs.tree(nodes + 1) - costs.tree(1)) / nodes / costs.token;
}

/** The node's child of a token, or -1. */
function childOf({ token, parent }: Sketch, node: number, is: (token: number) => boolean): number {
  return token.findIndex((other, i) => parent[i] === node && is(other));
}

/** Trees of one shape behind one text. */
export class TreeDrafts {
  readonly #runtime: Runtime;
  readonly #shape: Shape;
  readonly #toModel: (id: number) => number | undefined;
  readonly #ends: ReadonlySet<number>;
  readonly #minReach: number;
  readonly #coins: bigint;
  #grown: Grown | undefined;
  #learnt = true;

  /**
   * @param toModel ids of draws in the vocabulary of the text; draws that have none are left out
   * @param sampling of the draft model
   * @param minReach nodes of less reach are not continued
   */
  constructor(
    runtime: Runtime,
    shape: Shape,
    toModel: (id: number) => number | undefined,
    sampling: DraftSampling,
    minReach: number,
  ) {
    this.#runtime = runtime;
    this.#shape = shape;
    this.#toModel = toModel;
    this.#ends = new Set(sampling.endIds);
    this.#minReach = minReach;
    this.#coins = BigInt.asUintN(64, ~sampling.seed); // not the noise of the text
  }

  /**
   * Appends the tokens to the cache and grows a tree behind them.
   * @returns the tree, if it has more than its root, and what its levels took: how many, and seconds
   * @throws what a step throws; the cache may then hold the tokens, and nothing of the tree
   */
  async grow(
    { cache, sampler, tokens, root, depth }: Soil,
    budget: DraftBudget,
    signal: AbortSignal,
  ): Promise<{ tree: TokenTree | undefined; levels: number; seconds: number }> {
    const started = performance.now();
    const position = cache.length + tokens.length;
    let coins = 0;
    const growth = this.#shape.start(budget.nodes, depth, () => sampleUniform(this.#coins, position, coins++));
    const sketch = new Sketch(tokens[tokens.length - 1]);
    const grown: Grown = { sketch, growth, drawn: new Map(), slots: new Map(), kept: [] };
    const drawsK = Math.min(growth.draws + 1, this.#runtime.spec.vocab);
    const least = Math.max(this.#minReach, leastReach(budget));
    const step = { caches: [cache], samplers: [sampler], drawsK };
    const wants = new Uint8Array(tokens.length);
    wants[tokens.length - 1] = want.draws;
    let result = await this.#runtime.step({ ...step, tokens, sequence: new Int32Array(tokens.length), wants }, signal);
    let rows: readonly number[] = [0];
    for (let levels = 1; ; levels++) {
      const drawn = rows.map((_, i) => this.#draws(result, i, drawsK));
      for (const [i, row] of rows.entries()) grown.drawn.set(row, drawn[i]);
      const open = growth
        .grow(sketch, rows, drawn)
        .filter(
          (node) => sketch.depth[node] < depth && sketch.reach[node] >= least && !this.#ends.has(sketch.token[node]),
        );
      rows = open.slice(0, maxTreeNodes - grown.slots.size);
      if (rows.length === 0) {
        grown.kept = growth.keep?.(sketch) ?? Array.from(sketch.token.keys());
        this.#grown = grown;
        this.#learnt = false;
        return { tree: this.#tree(grown, root, budget.nodes), levels, seconds: (performance.now() - started) / 1e3 };
      }
      const level = {
        tokens: Int32Array.from(rows, (node) => sketch.token[node]),
        parents: Int32Array.from(rows, (node) => grown.slots.get(sketch.parent[node]) ?? -1),
        ...{ sequence: new Int32Array(rows.length), wants: new Uint8Array(rows.length).fill(want.draws) },
        ...{ scratch: true, continues: grown.slots.size > 0 },
      };
      result = await this.#runtime.step({ ...step, ...level }, signal);
      for (const node of rows) grown.slots.set(node, grown.slots.size);
    }
  }

  /** What was drawn behind a row, as far as the model has it. */
  #draws({ drawIds, drawLogq, drawValues }: NativeBatchResult, row: number, count: number): Drawn[] {
    const of = <A extends Int32Array | Float64Array>(values: A | undefined) =>
      (values as A).subarray(row * count, (row + 1) * count);
    const drawn = drawnOf(of(drawIds), of(drawLogq), of(drawValues));
    return drawn.filter(({ token }) => this.#toModel(token) !== undefined);
  }

  #tree({ sketch, kept }: Grown, root: number, nodes: number): TokenTree | undefined {
    if (kept.length < 2) return undefined;
    const place = new Map(kept.map((node, i) => [node, i]));
    const tree = new TokenTree({
      token: kept.map((node) => (node === 0 ? root : (this.#toModel(sketch.token[node]) as number))),
      parent: kept.map((node) => (node === 0 ? -1 : (place.get(sketch.parent[node]) as number))),
      reach: kept.map((node) => sketch.reach[node]),
    });
    return prune(tree, nodes + 1);
  }

  /**
   * Appends to the cache what was evaluated of the text that came after the root.
   * @param text in tokens of the draft model
   * @returns how many tokens that are
   */
  commit(cache: KvCache, text: readonly number[]): number {
    const path: number[] = [];
    if (this.#grown) {
      const { sketch, slots } = this.#grown;
      let node = 0;
      for (const token of text) {
        node = childOf(sketch, node, (other) => other === token);
        const slot = slots.get(node);
        if (slot === undefined) break;
        path.push(slot);
      }
    }
    this.#grown = undefined;
    if (path.length > 0) cache.commit(path);
    return path.length;
  }

  /** Notes the tokens that came after the root, as the model has them. */
  learn(length: ChainLength, tokens: ArrayLike<number>): void {
    if (!this.#grown || this.#learnt) {
      length.skipped(tokens.length);
      return;
    }
    this.#learnt = true;
    const { sketch, growth, drawn, kept } = this.#grown;
    let [node, right, wrong] = [0, 0, false];
    for (let i = 0; i < tokens.length && !wrong; i++) {
      const behind = drawn.get(node);
      if (!behind) break; // what comes after a node that was not evaluated says nothing
      const said = (id: number) => this.#toModel(id) === tokens[i];
      growth.observe?.(behind.findIndex(({ token }) => said(token)));
      node = childOf(sketch, node, said);
      wrong = !kept.includes(node);
      if (!wrong) right += 1;
    }
    length.observe(right, wrong);
  }
}
