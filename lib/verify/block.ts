import type { Law } from "../tree/law.ts";
import { needChain, needDrawn, type Verifier } from "./verifier.ts";

/**
 * Block verification of a chain (arXiv:2403.10444, algorithm 2): with w the running min(1, w * p / q) after each token, a beginning of length i is
 * accepted with h = S / (S + 1 - w), S the sum of [w * p' - q']+ over the next position, and the whole chain with w; the longest accepted
 * one counts. Never fewer tokens than chain rejection on average, from the same draws.
 */
export const block: Verifier = {
  name: "block",
  exact: true,
  verify(tree, target, coins) {
    needChain(tree, "block verification");
    needDrawn(tree, "block verification");
    const last = tree.size - 1;
    const laws = [undefined, ...Array.from({ length: last }, (_, i) => tree.drawsOf(i)[0].law)];
    const p: Law[] = [target(0)];
    const weight = [1];
    for (let i = 1; i <= last; i++) {
      const token = tree.token[i];
      weight.push(Math.min(1, (weight[i - 1] * p[i - 1].at(token)) / (laws[i] as Law).at(token)));
      p.push(target(i));
    }
    const path = (length: number) => Array.from({ length }, (_, i) => i + 1);
    if (coins.flip(weight[last])) return { path: path(last), next: coins.draw(p[last]) };
    for (let i = last - 1; ; i--) {
      const { sum, law: left } = p[i].minus(laws[i + 1] as Law, weight[i]);
      const missing = 1 - weight[i];
      // Without either the next token had been accepted for certain, or the weight is 1 by rounding: then draws of p are due.
      if (i === 0 || coins.flip(missing > 0 ? sum / (sum + missing) : 1))
        return { path: path(i), next: coins.draw(left ?? p[i]) };
    }
  },
};
