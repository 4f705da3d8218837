// Target and draft models small enough to enumerate: laws keyed by the tokens before.
import { Law } from "../../lib/tree/law.ts";
import { type Draw, TokenTree } from "../../lib/tree/token-tree.ts";
import type { Coins, Verifier } from "../../lib/verify/verifier.ts";
import { uniform } from "./random.ts";

/** The law of the next token after `context`. */
export type Toy = (context: readonly number[]) => Law;

/**
 * Random laws over `vocab` tokens, some without mass.
 * @param memory how many of the last tokens matter
 */
export function toyModel(vocab: number, seed: number, memory = 8, zeros = 0.2): Toy {
  const laws = new Map<number, Law>();
  return (context) => {
    let key = 0;
    for (let i = Math.max(0, context.length - memory); i < context.length; i++)
      key = key * (vocab + 1) + context[i] + 1;
    let law = laws.get(key);
    if (!law) {
      const recent = context.slice(-memory).map((token) => token + 1);
      const next = uniform([seed, ...recent].reduce((hash, x) => Math.imul(hash, 16777619) ^ x, 2166136261));
      const weights = Array.from({ length: vocab }, () => (next() < zeros ? 0 : next() ** 2 + 0.01));
      weights[Math.floor(next() * vocab)] += 0.5;
      law = Law.of(
        weights.map((_, id) => id),
        weights,
      );
      laws.set(key, law);
    }
    return law;
  };
}

/** `share` of one model and the rest of another: a drafter that is right to some degree. */
export function mixture(a: Toy, b: Toy, share: number): Toy {
  const laws = new Map<Law, Map<Law, Law>>();
  return (context) => {
    const [p, q] = [a(context), b(context)];
    let law = laws.get(p)?.get(q);
    if (!law) {
      const ids = [...new Set([...p.ids, ...q.ids])].sort((x, y) => x - y);
      law = Law.of(
        ids,
        ids.map((id) => share * p.at(id) + (1 - share) * q.at(id)),
      );
      laws.set(p, (laws.get(p) ?? new Map()).set(q, law));
    }
    return law;
  };
}

/** The likeliest tokens of a model alone. */
export function truncated(model: Toy, most: number): Toy {
  const laws = new Map<Law, Law>();
  return (context) => {
    const law = model(context);
    let short = laws.get(law);
    if (!short) {
      const ranked = Array.from(law.ids).sort((a, b) => law.at(b) - law.at(a) || a - b);
      const kept = ranked.slice(0, most).sort((a, b) => a - b);
      short = Law.of(
        kept,
        kept.map((id) => law.at(id)),
      );
      laws.set(law, short);
    }
    return short;
  };
}

/** How the children of a node are drawn: tokens in order, each with the law it came from. */
export type Drawing = (law: Law, count: number, coins: Coins) => { token: number; law: Law }[];

/** Independent draws of one law; equal ones stay. */
export const independent: Drawing = (law, count, coins) =>
  Array.from({ length: count }, () => ({ token: coins.draw(law), law }));

/** Draws without replacement, until nothing is left of the law. */
export const withoutReplacement: Drawing = (law, count, coins) => {
  const drawn = [];
  for (let left: Law | undefined = law; left && drawn.length < count; ) {
    const token = coins.draw(left);
    drawn.push({ token, law: left });
    left = left.without(token);
  }
  return drawn;
};

/** A tree of draws: `counts[d]` children for every node at depth d, equal draws in one node. */
export function drawTree(
  draft: Toy,
  drawing: Drawing,
  counts: readonly number[],
  root: number,
  coins: Coins,
): TokenTree {
  const token = [root];
  const parent = [-1];
  const contexts: number[][] = [[root]];
  const draws: Draw[] = [];
  for (let node = 0; node < token.length; node++) {
    const count = counts[contexts[node].length - 1] ?? 0;
    const first = token.length;
    for (const drawn of drawing(draft(contexts[node]), count, coins)) {
      let child = token.indexOf(drawn.token, first);
      if (child < 0) {
        child = token.length;
        token.push(drawn.token);
        parent.push(node);
        contexts.push([...contexts[node], drawn.token]);
      }
      draws.push({ node: child, law: drawn.law });
    }
  }
  return new TokenTree({ token, parent, draws });
}

/** The `counts[d]` likeliest tokens after every node at depth d, given and not drawn. */
export function likeliestTree(draft: Toy, counts: readonly number[], root: number): TokenTree {
  const token = [root];
  const parent = [-1];
  const contexts: number[][] = [[root]];
  for (let node = 0; node < token.length; node++) {
    const law = draft(contexts[node]);
    const ranked = Array.from(law.ids).sort((a, b) => law.at(b) - law.at(a) || a - b);
    for (const child of ranked.slice(0, counts[contexts[node].length - 1] ?? 0)) {
      token.push(child);
      parent.push(node);
      contexts.push([...contexts[node], child]);
    }
  }
  return new TokenTree({ token, parent });
}

/** What a step says: the tokens of the accepted path and the next one. */
export function stepOf(target: Toy, tree: TokenTree, rule: Verifier, coins: Coins): number[] {
  const context = (node: number) => [tree.token[0], ...tree.path(node).map((i) => tree.token[i])];
  const { path, next } = rule.verify(tree, (node) => target(context(node)), coins);
  return [...context(path.at(-1) ?? 0).slice(1), next];
}

/** Law of the first `length` tokens after the root under the model itself. */
export function plainLaw(target: Toy, root: number, length: number): Map<string, number> {
  let texts = new Map<string, number>([["", 1]]);
  for (let i = 0; i < length; i++) {
    const longer = new Map<string, number>();
    for (const [text, probability] of texts) {
      const tokens = text === "" ? [] : text.split(",").map(Number);
      const law = target([root, ...tokens]);
      for (const [j, id] of law.ids.entries()) longer.set([...tokens, id].join(), probability * law.mass[j]);
    }
    texts = longer;
  }
  return texts;
}
