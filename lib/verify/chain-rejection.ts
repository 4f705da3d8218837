import { walkDraws } from "./stages.ts";
import { needChain, needDrawn, type Verifier } from "./verifier.ts";

/**
 * Speculative sampling of a chain (arXiv:2211.17192, arXiv:2302.01318): a token x drawn from q is accepted with probability
 * min(1, p(x) / q(x)); the first refusal draws from the normalised [p - q]+.
 */
export const chainRejection: Verifier = {
  name: "chain-rejection",
  exact: true,
  verify(tree, target, coins) {
    needChain(tree, "chain rejection");
    needDrawn(tree, "chain rejection");
    return walkDraws(tree, target, coins);
  },
};
