import type { Law } from "../tree/law.ts";
import type { TokenTree } from "../tree/token-tree.ts";
import type { Verifier } from "./verifier.ts";

/** Those of the paper's own code. */
export const typicalDefaults = { epsilon: 0.09, delta: 0.3 } as const;

/** min(epsilon, delta * exp(-H)) for the entropy H in nats of a law: what a drafted token's probability has to exceed. */
export function typicalThreshold(law: Law, epsilon: number, delta: number): number {
  const entropy = law.mass.reduce((sum, p) => sum - p * Math.log(p + 1e-5), 0);
  return Math.min(epsilon, delta * Math.exp(-entropy));
}

/**
 * Typical acceptance (Medusa, arXiv:2401.10774): the first drafted token is accepted if it is the likeliest, a later one
 * where its probability exceeds the threshold; of the longest accepted paths the likeliest counts. **Not exact**: what is likely is said more often than the model would.
 * @param epsilon @default 0.09
 * @param delta @default 0.3
 */
export function typical(epsilon: number = typicalDefaults.epsilon, delta: number = typicalDefaults.delta): Verifier {
  return {
    name: "typical",
    exact: false,
    verify(tree, target, coins) {
      const laws = new Map<number, Law>([[0, target(0)]]);
      const logs = new Map([[0, 0]]);
      let best = 0;
      for (let i = 1; i < tree.size; i++) {
        const parent = tree.parent[i];
        const above = laws.get(parent);
        if (!above) continue;
        const p = above.at(tree.token[i]);
        const taken = parent === 0 ? above.argmax() === tree.token[i] : p > typicalThreshold(above, epsilon, delta);
        if (!taken) continue;
        laws.set(i, target(i));
        logs.set(i, (logs.get(parent) as number) + Math.log(p));
        if (better(tree, logs, i, best)) best = i;
      }
      return { path: tree.path(best), next: coins.draw(laws.get(best) as Law) };
    },
  };
}

function better(tree: TokenTree, logs: Map<number, number>, a: number, b: number): boolean {
  if (tree.depth[a] !== tree.depth[b]) return tree.depth[a] > tree.depth[b];
  return (logs.get(a) as number) > (logs.get(b) as number);
}
