// The composition of refusals that most rules for drawn children are made of.

import type { Law } from "../tree/law.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import { type Coins, type Target, type Verified, walk } from "./verifier.ts";

/** Below this a remainder is rounding: what was offered had been accepted for certain. */
export const noRemainder = 1e-12;

/** A token on offer and the law it was drawn from. */
export interface Offer {
  node: number;
  law: Law;
}

/**
 * Offers one after another: x from q is accepted with probability min(1, p(x) / q(x)), otherwise p becomes the normalised [p - q]+. If none is
 * accepted the next token is drawn from what is left of p. The output law is p for any laws q, as long as each is the one its
 * token was drawn from, given the offers before it: min(p, q)(x) + sum [p - q]+ * p'(x) = p(x), from the last offer backwards.
 */
export function offerAll(
  tree: TokenTree,
  target: Law,
  offers: readonly Offer[],
  coins: Coins,
): { child: number } | { next: number } {
  let p = target;
  for (const { node, law } of offers) {
    const token = tree.token[node];
    const ratio = p.at(token) / law.at(token);
    if (ratio >= 1 || coins.flip(ratio)) return { child: node };
    const { sum, law: left } = p.minus(law);
    if (left === undefined || sum < noRemainder) return { child: node };
    p = left;
  }
  return { next: coins.draw(p) };
}

/** Walks down with {@link offerAll} at every node, over the draws of its children. */
export const walkDraws = (tree: TokenTree, target: Target, coins: Coins): Verified =>
  walk((node) => offerAll(tree, target(node), tree.drawsOf(node), coins));
