// Exact rules on larger vocabularies, with the coins that runs use: 200,000 steps each against the target's law.
import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { TokenTree } from "../../../lib/tree/token-tree.ts";
import { block } from "../../../lib/verify/block.ts";
import { chainRejection } from "../../../lib/verify/chain-rejection.ts";
import { kSeq } from "../../../lib/verify/k-seq.ts";
import { keyedCoins } from "../../../lib/verify/keyed-coins.ts";
import { multiDraft } from "../../../lib/verify/multi-draft.ts";
import { orderedOneHot } from "../../../lib/verify/ordered-one-hot.ts";
import { sampleMatching } from "../../../lib/verify/sample-matching.ts";
import { traversal } from "../../../lib/verify/traversal.ts";
import type { Coins, Verifier } from "../../../lib/verify/verifier.ts";
import { withoutReplacement as recursive } from "../../../lib/verify/without-replacement.ts";
import { fits } from "../../support/chi-square.ts";
import {
  type Drawing,
  drawTree,
  independent,
  likeliestTree,
  mixture,
  plainLaw,
  stepOf,
  type Toy,
  toyModel,
  withoutReplacement,
} from "../../support/toy-models.ts";

const steps = 200_000;
const vocab = 16;
const root = 0;
const target = toyModel(vocab, 11, 2);
const draft = mixture(target, toyModel(vocab, 12, 2), 0.5);

/** Counts of the first token and of the first two, of steps with coins that depend on their number. */
async function simulate(rule: Verifier, propose: (coins: Coins) => TokenTree, seed: bigint) {
  const firsts = new Map<string, number>();
  const pairs = new Map<string, number>();
  let accepted = 0;
  for (let step = 0; step < steps; step++) {
    if (step % 5000 === 0) await setImmediate(); // the runner wants to be heard
    const coins = keyedCoins(seed, step);
    const tokens = stepOf(target, propose(coins), rule, coins);
    if (tokens.length > 1) accepted += 1;
    if (tokens.length === 1) tokens.push(coins.draw(target([root, ...tokens])));
    const pair = tokens.slice(0, 2).join();
    firsts.set(String(tokens[0]), (firsts.get(String(tokens[0])) ?? 0) + 1);
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  }
  return { firsts, pairs, accepted: accepted / steps };
}

const drawn: [Verifier, Drawing, number[]][] = [
  [chainRejection, independent, [1, 1, 1]],
  [block, independent, [1, 1, 1]],
  [multiDraft, independent, [2, 1]],
  [recursive, withoutReplacement, [2, 2]],
  [kSeq, independent, [3, 1]],
  [traversal, withoutReplacement, [2, 1]],
];

describe("the law of what is said", () => {
  test.each(drawn)("$name", { timeout: 120_000 }, async (rule, drawing, counts) => {
    const { firsts, pairs } = await simulate(rule, (coins) => drawTree(draft, drawing, counts, root, coins), 1n);
    expect(fits(firsts, plainLaw(target, root, 1))).toBe(true);
    expect(fits(pairs, plainLaw(target, root, 2))).toBe(true);
  });

  test.each([orderedOneHot, sampleMatching])("$name", { timeout: 120_000 }, async (rule) => {
    const { firsts, pairs } = await simulate(rule, () => likeliestTree(draft, [2, 1], root), 2n);
    expect(fits(firsts, plainLaw(target, root, 1))).toBe(true);
    expect(fits(pairs, plainLaw(target, root, 2))).toBe(true);
  });

  test("a drafter's own law is told from the target's", { timeout: 120_000 }, async () => {
    const plain: Verifier = {
      ...sampleMatching,
      verify: (_, __, coins) => ({ path: [], next: coins.draw(draft([root])) }),
    };
    const { firsts } = await simulate(plain, () => new TokenTree({ token: [root], parent: [-1] }), 3n);
    expect(fits(firsts, plainLaw(target, root, 1))).toBe(false);
  });
});

describe("how much is accepted", () => {
  const within = (found: number, probability: number) =>
    expect(Math.abs(found - probability)).toBeLessThan(4 * Math.sqrt((probability * (1 - probability)) / steps));
  const overlap = (p: Toy, q: Toy) =>
    p([root]).ids.reduce((sum, id) => sum + Math.min(p([root]).at(id), q([root]).at(id)), 0);

  test("of a chain the overlap of both laws", { timeout: 120_000 }, async () => {
    const { accepted } = await simulate(chainRejection, (coins) => drawTree(draft, independent, [1], root, coins), 4n);
    within(accepted, overlap(target, draft));
  });

  test.each([orderedOneHot, sampleMatching])(
    "of given children their mass: $name",
    { timeout: 120_000 },
    async (rule) => {
      const tree = likeliestTree(draft, [2], root);
      const { accepted } = await simulate(rule, () => tree, 5n);
      within(
        accepted,
        tree.token.slice(1).reduce((sum, token) => sum + target([root]).at(token), 0),
      );
    },
  );
});
