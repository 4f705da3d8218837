// Rules of verification (lib/verify) on the same drafts: rows `speculation/rules/SHAPE/RULE`, tokens that a step brings on average, its own included. Laws are those of a pair of
// models at temperature 1 at places of a public-domain text, drafts are drawn from the smaller one's. `chain`: 4 tokens. `tree`: 2 tokens at the root and one behind each of these and of the next, so 6.
// Exact rules have the larger model's law as theirs; `typical` has not. What is counted is drafts and coins, not time.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { chain, load, TokenTree } from "outrider";
import { sampleUniform } from "outrider/ops";
import { Law } from "../../dist/tree/law.js";
import { block } from "../../dist/verify/block.js";
import { chainRejection } from "../../dist/verify/chain-rejection.js";
import { kSeq } from "../../dist/verify/k-seq.js";
import { keyedCoins } from "../../dist/verify/keyed-coins.js";
import { multiDraft } from "../../dist/verify/multi-draft.js";
import { orderedOneHot } from "../../dist/verify/ordered-one-hot.js";
import { sampleMatching } from "../../dist/verify/sample-matching.js";
import { noisyArgmax, sharedNoise } from "../../dist/verify/shared-noise.js";
import { traversal } from "../../dist/verify/traversal.js";
import { typical } from "../../dist/verify/typical.js";
import { withoutReplacement } from "../../dist/verify/without-replacement.js";
import { shared } from "../models.mjs";

const [depth, width, before] = [4, 2, 64];

/** Laws after a path behind a text; a path is asked for once. */
function lawsOf(model, text) {
  const known = new Map();
  return async (tokens) => {
    const key = tokens.join();
    if (!known.has(key)) {
      const { data, shape } = await model.logits([...text, ...tokens]);
      const row = data.subarray(data.length - shape[1]);
      const most = row.reduce((a, b) => Math.max(a, b));
      const ids = Int32Array.from(row.keys());
      known.set(
        key,
        Law.of(
          ids,
          Float64Array.from(row, (value) => Math.exp(value - most)),
        ),
      );
    }
    return known.get(key);
  };
}

/** The noise that decoding draws with, by position and token. */
const noiseOf = (seed) => (position, token) => -Math.log(-Math.log(sampleUniform(seed, position, token)));

/** Trees of drafts by how their children come about. */
const drafts = {
  /** @param pick token of a law at a depth */
  async chain(q, root, pick, drawn) {
    const tokens = [];
    const draws = [];
    for (let i = 0; i < depth; i++) {
      const law = await q(tokens);
      tokens.push(pick(law, i));
      draws.push({ node: i + 1, law });
    }
    if (!drawn) return chain(root, tokens);
    return new TokenTree({ token: [root, ...tokens], parent: [-1, ...tokens.keys()], draws });
  },
  /** Paths that are drawn independently; equal beginnings are one, drawn twice. */
  async paths(q, root, coins) {
    const [token, parent, draws] = [[root], [-1], []];
    for (let i = 0; i < width; i++) {
      let at = 0;
      const tokens = [];
      for (let j = 0; j < depth - 1; j++) {
        const law = await q(tokens);
        const next = coins.draw(law);
        let child = token.findIndex((one, node) => parent[node] === at && one === next);
        if (child < 0) {
          child = token.push(next) - 1;
          parent.push(at);
        }
        draws.push({ node: child, law });
        tokens.push(next);
        at = child;
      }
    }
    return new TokenTree({ token, parent, draws });
  },
  /** Different tokens at the root, one behind each and the next. @param pick tokens of a law, so many, with the law of each */
  async branches(q, root, pick, drawn) {
    const [token, parent, draws] = [[root], [-1], []];
    const tails = [];
    for (const { next, law } of pick(await q([]), width, 0)) {
      draws.push({ node: token.push(next) - 1, law });
      parent.push(0);
      tails.push({ at: token.length - 1, tokens: [next] });
    }
    for (let j = 1; j < depth - 1; j++) {
      for (const tail of tails) {
        const [{ next, law }] = pick(await q(tail.tokens), 1, j);
        draws.push({ node: token.push(next) - 1, law });
        parent.push(tail.at);
        tail.at = token.length - 1;
        tail.tokens.push(next);
      }
    }
    return new TokenTree({ token, parent, ...(drawn ? { draws } : {}) });
  },
};

/** So many tokens one after the other without those before, by `choose`. */
const several = (choose) => (law, count, at) => {
  const found = [];
  for (let left = law; found.length < count && left !== undefined; ) {
    const next = choose(left, at);
    found.push({ next, law: left });
    left = left.without(next);
  }
  return found;
};

/** Every rule: how it drafts, and what verifies. */
function rules(q, root, seed) {
  const draft = keyedCoins(BigInt(seed), 0);
  const noise = noiseOf(seed);
  const drawn = (law) => draft.draw(law);
  const noisy = (law, at) => noisyArgmax(law, (token) => noise(at + 1, token));
  const best = (law) => law.argmax();
  const verifier = sharedNoise(noise, 1);
  return {
    "chain/chain-rejection": [() => drafts.chain(q, root, drawn, true), chainRejection],
    "chain/block": [() => drafts.chain(q, root, drawn, true), block],
    "chain/sample-matching": [() => drafts.chain(q, root, drawn, false), sampleMatching],
    "chain/best-guess": [() => drafts.chain(q, root, best, false), sampleMatching],
    "chain/shared-noise": [() => drafts.chain(q, root, noisy, false), verifier],
    "chain/typical": [() => drafts.chain(q, root, best, false), typical()],
    "tree/multi-draft": [() => drafts.paths(q, root, draft), multiDraft],
    "tree/k-seq": [() => drafts.paths(q, root, draft), kSeq],
    "tree/without-replacement": [() => drafts.branches(q, root, several(drawn), true), withoutReplacement],
    "tree/traversal": [() => drafts.branches(q, root, several(drawn), true), traversal],
    "tree/ordered-one-hot": [() => drafts.branches(q, root, several(best), false), orderedOneHot],
    "tree/shared-noise": [() => drafts.branches(q, root, several(noisy), false), verifier],
  };
}

/** What a rule emits behind a place. Rules ask for laws one at a time, so all nodes' are found first. */
async function step(make, rule, p, seed) {
  const tree = await make();
  const laws = [];
  for (let node = 0; node < tree.size; node++) laws.push(await p(tree.path(node).map((i) => tree.token[i])));
  return 1 + rule.verify(tree, (node) => laws[node], keyedCoins(BigInt(seed), 1)).path.length;
}

/** @returns rows of all rules, if the pair of models is there */
export async function ruleRows({ quick, threads, say }) {
  const [target, small] = ["tiny-target", "tiny-draft"].map((name) => path.join(shared, "models", name));
  const file = path.join(shared, "text/moby-dick-ch1-60.txt");
  if (![target, small, file].every((one) => existsSync(one))) return [];
  const [large, draft] = await Promise.all([load(target, { threads }), load(small, { threads })]);
  try {
    const ids = large.tokenize(readFileSync(file, "utf8").slice(0, 200_000));
    const [places, repeats] = quick ? [2, 1] : [60, 6];
    const sums = {};
    for (let place = 0; place < places; place++) {
      const end = before + Math.floor((place * (ids.length - before)) / places);
      const text = [...ids.subarray(end - before, end)];
      const [p, q] = [lawsOf(large, text), lawsOf(draft, text)];
      for (let i = 0; i < repeats; i++) {
        const seed = place * repeats + i + 1;
        for (const [name, [make, rule]] of Object.entries(rules(q, text[before - 1], seed)))
          sums[name] = (sums[name] ?? 0) + (await step(make, rule, p, seed));
      }
    }
    return Object.entries(sums).map(([name, sum]) => {
      const value = sum / (places * repeats);
      say(`speculation/rules/${name}: ${value.toFixed(2)} tokens a step`);
      return { id: `speculation/rules/${name}`, value, unit: "tokens a step" };
    });
  } finally {
    await Promise.all([large.dispose(), draft.dispose()]);
  }
}
