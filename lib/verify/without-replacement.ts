import { walkDraws } from "./stages.ts";
import { needDrawn, needOnce, type Verifier } from "./verifier.ts";

/**
 * Recursive rejection sampling (RSD, arXiv:2402.14160; Sequoia, arXiv:2402.12374): the children of a node were drawn one after
 * another without replacement, the law of each draw being the one before without the token before.
 */
export const withoutReplacement: Verifier = {
  name: "without-replacement",
  exact: true,
  verify(tree, target, coins) {
    needDrawn(tree, "recursive rejection");
    needOnce(tree, "recursive rejection");
    return walkDraws(tree, target, coins);
  },
};
