import { match, type Verifier } from "./verifier.ts";

/** The likeliest token at every node, the lowest id of equals: plain greedy decoding, for any tree. */
export const greedy: Verifier = {
  name: "greedy",
  exact: true,
  verify: (tree, target) => match(tree, (node) => target(node).argmax()),
};
