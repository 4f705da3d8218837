import type { Law } from "../tree/law.ts";
import { match, type Verifier } from "./verifier.ts";

/** Those of {@link relaxed}. */
export const relaxedDefaults = { top: 3, gap: 1 } as const;

/**
 * The tokens that are accepted after a law, likeliest first, the lowest id of equals: the `top` likeliest, without those more than `gap` nats below
 * the first.
 */
export function relaxedTokens(law: Law, top: number, gap: number): number[] {
  const ranked = Array.from(law.ids, (id, i) => ({ id, p: law.mass[i] })).sort((a, b) => b.p - a.p || a.id - b.id);
  const floor = ranked[0].p * Math.exp(-gap);
  return ranked
    .slice(0, top)
    .filter(({ p }) => p >= floor)
    .map(({ id }) => id);
}

/**
 * Relaxed greedy acceptance (GAD++, arXiv:2203.16487): a child is accepted if its token is among the `top` likeliest and at most `gap` nats less likely
 * than the likeliest; of several the likeliest. **Not exact**, except with `top` 1, which is greedy.
 * @param top @default 3
 * @param gap nats. @default 1
 */
export function relaxed(top: number = relaxedDefaults.top, gap: number = relaxedDefaults.gap): Verifier {
  return {
    name: "relaxed",
    exact: false,
    verify: (tree, target) =>
      match(tree, (node) => {
        const tokens = relaxedTokens(target(node), top, gap);
        return tokens.find((id) => tree.child(node, id) >= 0) ?? tokens[0];
      }),
  };
}
