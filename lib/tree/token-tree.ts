// A tree of drafted tokens: what drafters propose, the model evaluates in one batch and verifiers walk.

import { badArgument, describe } from "../errors.ts";
import type { Law } from "./law.ts";

/** Most rows of a tree, the root included. */
export const maxTreeNodes = 256;

/** One draw of a sampled proposal: the node that holds the token, and the law from which it was drawn, given the draws before it. */
export interface Draw {
  node: number;
  law: Law;
}

/** What a {@link TokenTree} is made of. */
export interface TreeParts {
  /** Token of each node; the first is the newest committed token, which has no row in the KV cache yet. */
  token: ArrayLike<number>;
  /** Parent of each node, an earlier node; -1 for the root. */
  parent: ArrayLike<number>;
  /** Estimated probability that each node lies on the accepted path; at most that of its parent. @default 1 */
  reach?: ArrayLike<number>;
  /** Which drafters proposed each node, as bits. @default 0 */
  source?: ArrayLike<number>;
  /**
   * For tokens that were sampled: every draw in the order in which it was made, equal draws of one parent included. Without it
   * children are given, not drawn: nothing about them depends on chance.
   */
  draws?: readonly Draw[];
}

function checkLength(name: string, column: ArrayLike<number> | undefined, nodes: number): void {
  if (column !== undefined && column.length !== nodes) throw badArgument(name, `${nodes} entries`, column.length);
}

/** Structure of arrays over `size` nodes in an order where parents come before their children. Siblings are verified in that order. */
export class TokenTree {
  readonly size: number;
  readonly token: Int32Array;
  readonly parent: Int32Array;
  /** Tokens between a node and the root. */
  readonly depth: Int32Array;
  readonly reach: Float32Array;
  readonly source: Uint32Array;
  readonly draws: readonly Draw[] | undefined;
  // Children of node i: #children[#first[i]] to #children[#first[i + 1] - 1].
  readonly #first: Int32Array;
  readonly #children: Int32Array;

  /**
   * @param vocab token ids are below it
   * @throws {OutriderError} OUTRIDER_ARGUMENT that names the node and the rule it breaks
   */
  constructor({ token, parent, reach, source, draws }: TreeParts, vocab: number = 2 ** 31) {
    const n = token.length;
    if (!Number.isInteger(n) || n < 1 || n > maxTreeNodes) throw badArgument("token", `1 to ${maxTreeNodes} nodes`, n);
    checkLength("parent", parent, n);
    checkLength("reach", reach, n);
    checkLength("source", source, n);
    this.size = n;
    this.token = new Int32Array(n);
    this.parent = new Int32Array(n);
    this.depth = new Int32Array(n);
    this.reach = new Float32Array(n);
    this.source = new Uint32Array(n);
    this.#first = new Int32Array(n + 1);
    this.#children = new Int32Array(n - 1);
    for (let i = 0; i < n; i++) {
      const t = token[i];
      const p = parent[i];
      const r = Math.fround(reach?.[i] ?? 1);
      if (!Number.isInteger(t) || t < 0 || t >= vocab) throw badArgument(`token[${i}]`, `a token id below ${vocab}`, t);
      if (i === 0 ? p !== -1 : !Number.isInteger(p) || p < 0 || p >= i)
        throw badArgument(`parent[${i}]`, i === 0 ? "-1 for the root" : "an earlier node", p);
      if (!(r >= 0 && r <= (i === 0 ? 1 : this.reach[p])))
        throw badArgument(`reach[${i}]`, "a probability, at most that of the parent", r);
      // Most nodes are the first child of theirs.
      if (i > 0 && this.#first[p + 1] > 0)
        for (let j = p + 1; j < i; j++)
          if (this.parent[j] === p && this.token[j] === t)
            throw badArgument(`token[${i}]`, "a token that no sibling has", t);
      this.token[i] = t;
      this.parent[i] = p;
      this.depth[i] = i === 0 ? 0 : this.depth[p] + 1;
      this.reach[i] = r;
      this.source[i] = source?.[i] ?? 0;
      if (i > 0) this.#first[p + 1] += 1;
    }
    for (let i = 0; i < n; i++) this.#first[i + 1] += this.#first[i];
    const filled = this.#first.slice();
    for (let i = 1; i < n; i++) this.#children[filled[this.parent[i]]++] = i;
    this.draws = draws;
    if (draws) this.#checkDraws(draws);
  }

  #checkDraws(draws: readonly Draw[]): void {
    const drawn = new Set<number>();
    for (const [i, { node, law }] of draws.entries()) {
      if (!Number.isInteger(node) || node < 1 || node >= this.size)
        throw badArgument(`draws[${i}].node`, `a node from 1 to ${this.size - 1}`, node);
      if (!(law.at(this.token[node]) > 0))
        throw badArgument(`draws[${i}].law`, `a law that may give token ${this.token[node]}`, law.at(this.token[node]));
      drawn.add(node);
    }
    for (let i = 1; i < this.size; i++)
      if (!drawn.has(i)) throw badArgument("draws", "a draw for every node but the root", `none for node ${i}`);
  }

  /** Children of a node, in the order in which they are verified. */
  children(node: number): Int32Array {
    return this.#children.subarray(this.#first[node], this.#first[node + 1]);
  }

  /** The child of `node` that holds `token`, or -1. */
  child(node: number, token: number): number {
    for (const child of this.children(node)) if (this.token[child] === token) return child;
    return -1;
  }

  /** Draws of the children of a node in order; none if its children were given. */
  drawsOf(node: number): readonly Draw[] {
    return this.draws?.filter((draw) => this.parent[draw.node] === node) ?? [];
  }

  /** Nodes from below the root to `node`. */
  path(node: number): number[] {
    const path = [];
    for (let i = node; i > 0; i = this.parent[i]) path.push(i);
    return path.reverse();
  }

  /** Absolute positions of all nodes, for a root at `start`. */
  positions(start: number): Int32Array {
    return this.depth.map((depth) => start + depth);
  }

  /**
   * Ancestor masks: bit `j & 31` of word `row * words + (j >> 5)` is set if node j is `row` or an ancestor of it.
   */
  mask(): { words: number; bits: Uint32Array } {
    const words = Math.ceil(this.size / 32);
    const bits = new Uint32Array(this.size * words);
    for (let i = 0; i < this.size; i++) {
      if (i > 0) bits.copyWithin(i * words, this.parent[i] * words, (this.parent[i] + 1) * words);
      bits[i * words + (i >> 5)] |= 1 << (i & 31);
    }
    return { words, bits };
  }

  /** Node paths from the root to each leaf, leaves in order. */
  leafPaths(): number[][] {
    const leaves = Array.from({ length: this.size }, (_, i) => i).filter((i) => this.children(i).length === 0);
    return leaves.map((leaf) => [0, ...this.path(leaf)]);
  }

  /**
   * Depth-first order: `order[k]` is the k-th node; the nodes below and including `order[k]` are `order[k]` to `order[end[k] - 1]`.
   */
  depthFirst(): { order: Int32Array; end: Int32Array } {
    const order = new Int32Array(this.size);
    const end = new Int32Array(this.size);
    let at = 0;
    const visit = (node: number) => {
      const mine = at++;
      order[mine] = node;
      for (const child of this.children(node)) visit(child);
      end[mine] = at;
    };
    visit(0);
    return { order, end };
  }

  toString(): string {
    return `a tree of ${this.size} nodes for token ${describe(this.token[0])}`;
  }
}
