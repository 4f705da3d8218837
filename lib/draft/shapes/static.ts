// Trees of one best template.

import { bestFirst } from "../../tree/best-first.ts";
import { type Template, template } from "../../tree/build.ts";
import type { Growth, Shape } from "./growth.ts";
import { RankAcceptance } from "./rank-acceptance.ts";
import type { Drawn, Sketch } from "./sketch.ts";

/** Draws of a node that acceptance is learnt of, and children at most. */
const ranks = 8;

class StaticGrowth implements Growth {
  readonly draws = ranks;
  readonly #template: Template;
  readonly #acceptance: RankAcceptance;
  readonly #share: readonly number[];
  /** Node of the template that each node stands for. */
  readonly #stands = [0];

  constructor(acceptance: RankAcceptance, nodes: number, depth: number) {
    this.#acceptance = acceptance;
    this.#share = acceptance.estimates;
    this.#template = template(bestFirst([this.#share], nodes, depth).map(({ path }) => path));
  }

  #children(node: number): number[] {
    const { parent } = this.#template;
    return Array.from(parent.keys()).filter((child) => parent[child] === node);
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    const open: number[] = [];
    for (const [i, row] of rows.entries()) {
      for (const child of this.#children(this.#stands[row])) {
        const rank = this.#template.rank[child];
        if (rank >= drawn[i].length) continue;
        const node = sketch.add(row, drawn[i][rank].token, this.#share[rank]);
        this.#stands.push(child);
        if (this.#children(child).length > 0) open.push(node);
      }
    }
    return open;
  }

  observe(rank: number): void {
    this.#acceptance.observe(rank);
  }
}

/**
 * The template of most expected tokens by acceptance of the first draw, the second, and so on (Sequoia, arXiv:2402.12374), which is learnt from the texts. At most 8 children a node.
 */
export class StaticShape implements Shape {
  readonly depth: number;
  readonly #nodes: number;
  readonly #acceptance = new RankAcceptance(ranks);

  constructor(nodes: number, depth: number) {
    this.#nodes = nodes;
    this.depth = depth;
  }

  start(nodes: number, depth: number): Growth {
    return new StaticGrowth(this.#acceptance, Math.min(nodes, this.#nodes), depth);
  }
}
