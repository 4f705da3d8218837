import { match, type Verifier } from "./verifier.ts";

/**
 * The target draws its token at every node, and the walk goes on where a child has it: exact for any tree, however it came about. A child
 * is accepted with its probability under the target: as much as any rule can where children are given, less than those that know
 * the drafter's law where they are drawn.
 */
export const sampleMatching: Verifier = {
  name: "sample-matching",
  exact: true,
  verify: (tree, target, coins) => match(tree, (node) => coins.draw(target(node))),
};
