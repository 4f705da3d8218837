// What all rules of verification have in common. Each rule is one file; each has the target's law as its output law, whatever was
// drafted, unless it says that it is approximate.

import { badArgument } from "../errors.ts";
import type { Law } from "../tree/law.ts";
import type { TokenTree } from "../tree/token-tree.ts";

/**
 * The target's law after a node and the tokens above it: after penalties, bias, temperature and truncation, with the history of that path.
 * A rule asks for nodes that it visits, each once.
 */
export type Target = (node: number) => Law;

/** Where a rule gets its chance from. */
export interface Coins {
  /** True with probability `p`. */
  flip(p: number): boolean;
  /** A token of `law`. */
  draw(law: Law): number;
}

/** What a step emits: the tokens of `path`, then `next`. */
export interface Verified {
  /** Accepted nodes from below the root on, each the child of the one before. */
  path: number[];
  /** Drawn by the target after the last accepted node. */
  next: number;
}

/** A rule of verification. */
export interface Verifier {
  readonly name: string;
  /** False: the output law is not the target's. */
  readonly exact: boolean;
  /** @throws {OutriderError} OUTRIDER_ARGUMENT if the tree's children did not come about as the rule needs it */
  verify(tree: TokenTree, target: Target, coins: Coins): Verified;
}

/** Refuses trees whose children were drawn, for rules that take them as given. */
export function needGiven(tree: TokenTree, rule: string): void {
  if (tree.draws) throw badArgument("tree", `children that were given, not drawn, as ${rule} needs them`, String(tree));
}

/** Refuses trees whose children were given, for rules that need the law they were drawn from. */
export function needDrawn(tree: TokenTree, rule: string): void {
  if (tree.size > 1 && !tree.draws)
    throw badArgument("tree", `children that were drawn from known laws, as ${rule} needs them`, String(tree));
}

/** Refuses trees with several draws of one node. */
export function needOnce(tree: TokenTree, rule: string): void {
  if (tree.draws && tree.draws.length !== tree.size - 1)
    throw badArgument("tree", `every child drawn once, as ${rule} needs it`, String(tree));
}

/** Refuses trees that branch. */
export function needChain(tree: TokenTree, rule: string): void {
  if (tree.parent.some((parent, i) => parent !== i - 1))
    throw badArgument("tree", `a chain, as ${rule} needs it`, String(tree));
  needOnce(tree, rule);
}

/** Walks down from the root: `step` says which child of a node is accepted, or which token ends the walk. */
export function walk(step: (node: number) => { child: number } | { next: number }): Verified {
  const path: number[] = [];
  for (;;) {
    const found = step(path.at(-1) ?? 0);
    if ("next" in found) return { path, next: found.next };
    path.push(found.child);
  }
}

/** Walks down along the tokens that `choose` names, as long as they are in the tree. */
export function match(tree: TokenTree, choose: (node: number) => number): Verified {
  return walk((node) => {
    const next = choose(node);
    const child = tree.child(node, next);
    return child < 0 ? { next } : { child };
  });
}
