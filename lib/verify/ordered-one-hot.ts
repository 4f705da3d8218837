import { Law } from "../tree/law.ts";
import { offerAll } from "./stages.ts";
import { needGiven, type Verifier, walk } from "./verifier.ts";

/**
 * Given children in their order: each is accepted with its probability under what is left of the target's law, which a refusal takes it out
 * of (EAGLE-2, arXiv:2406.16858). The same law and acceptance as sample matching, with a coin for each child.
 */
export const orderedOneHot: Verifier = {
  name: "ordered-one-hot",
  exact: true,
  verify(tree, target, coins) {
    needGiven(tree, "the ordered one-hot rule");
    return walk((node) => {
      const offers = Array.from(tree.children(node), (child) => ({ node: child, law: Law.certain(tree.token[child]) }));
      return offerAll(tree, target(node), offers, coins);
    });
  },
};
