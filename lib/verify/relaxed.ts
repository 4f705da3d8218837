import { match, type Verifier } from "./verifier.ts";

/**
 * Relaxed greedy acceptance (GAD++, arXiv:2203.16487): a child is accepted if its token is among the `top` likeliest and at most `gap` nats less likely
 * than the likeliest; of several the likeliest. **Not exact**, except with `top` 1, which is greedy.
 * @param top @default 3
 * @param gap nats. @default 1
 */
export function relaxed(top = 3, gap = 1): Verifier {
  return {
    name: "relaxed",
    exact: false,
    verify: (tree, target) =>
      match(tree, (node) => {
        const law = target(node);
        const likeliest = law.argmax();
        const floor = law.at(likeliest) * Math.exp(-gap);
        const ranked = Array.from(law.ids, (id, i) => ({ id, p: law.mass[i] })).sort(
          (a, b) => b.p - a.p || a.id - b.id,
        );
        const accepted = ranked.slice(0, top).find(({ id, p }) => p >= floor && tree.child(node, id) >= 0);
        return accepted?.id ?? likeliest;
      }),
  };
}
