import type { Law } from "../tree/law.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { noRemainder } from "./stages.ts";
import { needDrawn, needOnce, type Target, type Verified, type Verifier } from "./verifier.ts";

/** State of a walk that starts at the leaves. */
class Remainder {
  /** What is left of the target's law at each node. */
  readonly p = new Map<number, Law>();
  /** Probability with which the path to each node may be accepted, given what was refused before. */
  readonly weight = new Map<number, number>([[0, 1]]);
  /** Draws of each node's children that have not been refused, in order. */
  readonly alive: Map<number, readonly { node: number; law: Law }[]>;
  readonly #target: Target;
  readonly #tree: TokenTree;

  constructor(tree: TokenTree, target: Target) {
    this.#tree = tree;
    this.#target = target;
    this.alive = new Map(Array.from({ length: tree.size }, (_, i) => [i, tree.drawsOf(i)]));
  }

  law(node: number): Law {
    let law = this.p.get(node);
    if (law === undefined) {
      law = this.#target(node);
      this.p.set(node, law);
    }
    return law;
  }

  /** The first leaf among what is alive, and its parent; weights are set on the way. */
  firstLeaf(): number {
    let node = 0;
    for (let draws = this.alive.get(node); draws && draws.length > 0; draws = this.alive.get(node)) {
      const [{ node: child, law: q }] = draws;
      const token = this.#tree.token[child];
      const above = this.weight.get(node) as number;
      // What refusals below a node made of its weight stays.
      if (!this.weight.has(child))
        this.weight.set(child, Math.min(1, (above * this.law(node).at(token)) / q.at(token)));
      node = child;
    }
    return node;
  }

  /** Takes a leaf out; false if its parent had nothing left but rounding, so that the leaf was due. */
  refuse(leaf: number): boolean {
    const parent = this.#tree.parent[leaf];
    const [{ law: q }, ...others] = this.alive.get(parent) as readonly { node: number; law: Law }[];
    const weight = this.weight.get(parent) as number;
    const { sum, law } = this.law(parent).minus(q, weight);
    if (law === undefined || sum < noRemainder) {
      // The path to the parent cannot end there any more.
      if (parent === 0) return false;
      this.weight.set(parent, 0);
    } else {
      this.p.set(parent, law);
      if (parent !== 0) this.weight.set(parent, sum / (sum + 1 - weight));
    }
    this.alive.set(parent, others);
    return true;
  }
}

/**
 * Traversal verification (arXiv:2505.12398): from the leaves to the root, so that a path counts as a whole. A leaf is accepted with its
 * weight, min(1, weight of its parent * p / q) of its token; a refused one leaves its parent with [weight * p - q]+ and its other children.
 * Of a chain this is block verification. Children were drawn one after another, no token twice.
 */
export const traversal: Verifier = {
  name: "traversal",
  exact: true,
  verify(tree, target, coins): Verified {
    needDrawn(tree, "traversal verification");
    needOnce(tree, "traversal verification");
    const state = new Remainder(tree, target);
    for (;;) {
      const leaf = state.firstLeaf();
      const weight = state.weight.get(leaf) as number;
      if (leaf === 0 || coins.flip(weight) || !state.refuse(leaf))
        return { path: tree.path(leaf), next: coins.draw(state.law(leaf)) };
    }
  },
};
