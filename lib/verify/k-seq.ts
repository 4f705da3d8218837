import { badArgument } from "../errors.ts";
import { Law } from "../tree/law.ts";
import { needDrawn, type Verifier, walk } from "./verifier.ts";

/** Probability that one draw from q is accepted at `rho`: sum of min(q, p / rho). */
export function acceptanceAt(rho: number, p: Law, q: Law): number {
  let sum = 0;
  for (const [i, id] of q.ids.entries()) sum += Math.min(q.mass[i], p.at(id) / rho);
  return sum;
}

/**
 * The division factor in [1, k] that solves 1 - (1 - b)^k = rho * b for b = {@link acceptanceAt}: the smallest that leaves every remainder
 * non-negative. Bisection; of the last interval the upper end, which is on the safe side.
 */
export function bestFactor(k: number, p: Law, q: Law): number {
  const valid = (rho: number) => {
    const b = acceptanceAt(rho, p, q);
    return 1 - (1 - b) ** k <= rho * b;
  };
  if (valid(1)) return 1;
  let [low, high] = [1, k];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (valid(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/**
 * SpecTr's k-sequential selection (arXiv:2310.15141, algorithm 2): the k draws of a node's children are independent and of one law q; each
 * is accepted with probability min(1, p(x) / (rho q(x))). If none is, the next token is drawn in proportion to
 * p(x) - min(q(x), p(x) / rho) * (1 - (1 - b)^k) / b. After a token is accepted, the draws that had it go on.
 */
export const kSeq: Verifier = {
  name: "k-seq",
  exact: true,
  verify(tree, target, coins) {
    needDrawn(tree, "k-SEQ");
    return walk((node) => {
      const p = target(node);
      const draws = tree.drawsOf(node);
      if (draws.length === 0) return { next: coins.draw(p) };
      const [{ law: q }] = draws;
      if (draws.some(({ law }) => law !== q))
        throw badArgument("tree", "draws of one law at every node, as k-SEQ needs them", String(tree));
      const rho = bestFactor(draws.length, p, q);
      for (const draw of draws) {
        const token = tree.token[draw.node];
        const ratio = p.at(token) / (rho * q.at(token));
        if (ratio >= 1 || coins.flip(ratio)) return { child: draw.node };
      }
      const b = acceptanceAt(rho, p, q);
      const each = b > 0 ? (1 - (1 - b) ** draws.length) / b : 0;
      const left = p.mass.map((mass, i) => Math.max(0, mass - Math.min(q.at(p.ids[i]), mass / rho) * each));
      return { next: coins.draw(left.some((mass) => mass > 0) ? Law.of(p.ids, left) : p) };
    });
  },
};
