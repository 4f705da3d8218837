import { walkDraws } from "./stages.ts";
import { needDrawn, type Verifier } from "./verifier.ts";

/**
 * Multi-step speculative sampling (SpecInfer, arXiv:2305.09781): the children of a node are independent draws of one or several drafters,
 * tried in their order. Equal draws are tried once each.
 */
export const multiDraft: Verifier = {
  name: "multi-draft",
  exact: true,
  verify(tree, target, coins) {
    needDrawn(tree, "the multi-draft rule");
    return walkDraws(tree, target, coins);
  },
};
