// Trees from what drafters have: runs of tokens, ranked candidates, other trees.

import { badArgument } from "../errors.ts";
import { maxTreeNodes, TokenTree } from "./token-tree.ts";

/**
 * A run of tokens after the root.
 * @param reach of each token of the run. @default 1
 */
export function chain(root: number, tokens: ArrayLike<number>, reach?: ArrayLike<number>, source = 0): TokenTree {
  const n = tokens.length + 1;
  const parent = new Int32Array(n);
  const token = new Int32Array(n);
  const reaches = new Float32Array(n).fill(1);
  for (let i = 0; i < n; i++) {
    parent[i] = i - 1;
    token[i] = i === 0 ? root : tokens[i - 1];
    if (i > 0) reaches[i] = reach?.[i - 1] ?? 1;
  }
  return new TokenTree({ token, parent, reach: reaches, source: new Uint32Array(n).fill(source, 1) });
}

/** A shape without tokens: node i + 1 is the child of rank `rank[i + 1]` of its parent. Nodes are sorted by depth, then by ranks. */
export interface Template {
  parent: Int32Array;
  /** Rank among all candidates of the parent; of the root 0. */
  rank: Int32Array;
}

/**
 * A template from rank paths: (0), (1), (0, 0) and so on say which candidate is taken at each depth (A Medusa tree, arXiv:2401.10774).
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a path whose beginning is not a path, or one that comes twice
 */
export function template(paths: readonly (readonly number[])[]): Template {
  const sorted = [...paths].sort((a, b) => a.length - b.length || compareRanks(a, b));
  if (sorted.length >= maxTreeNodes) throw badArgument("paths", `fewer than ${maxTreeNodes} paths`, sorted.length);
  const nodes = new Map([["", 0]]);
  const parent = new Int32Array(sorted.length + 1).fill(-1);
  const rank = new Int32Array(sorted.length + 1);
  for (const [i, path] of sorted.entries()) {
    const last = path.at(-1);
    if (last === undefined || !path.every((r) => Number.isInteger(r) && r >= 0))
      throw badArgument("paths", "non-empty paths of ranks from 0 on", path.join(", "));
    const above = nodes.get(path.slice(0, -1).join());
    if (above === undefined) throw badArgument("paths", "every beginning of a path to be a path", path.join(", "));
    if (nodes.has(path.join())) throw badArgument("paths", "every path once", path.join(", "));
    nodes.set(path.join(), i + 1);
    parent[i + 1] = above;
    rank[i + 1] = last;
  }
  return { parent, rank };
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((rank, i) => rank !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}

/**
 * A tree of a template's shape. Where there is no candidate of a rank, or an earlier sibling has its token, the node and what hangs
 * on it is left out.
 * @param candidate the token of a rank after a token at a depth, or undefined
 */
export function fill(
  root: number,
  { parent, rank }: Template,
  candidate: (token: number, rank: number, depth: number) => number | undefined,
  source = 0,
): TokenTree {
  const token = [root];
  const above = [-1];
  const depth = [0];
  const place = new Int32Array(parent.length).fill(-1);
  place[0] = 0;
  for (let i = 1; i < parent.length; i++) {
    const p = place[parent[i]];
    if (p < 0) continue;
    const found = candidate(token[p], rank[i], depth[p]);
    if (found === undefined || token.some((t, j) => t === found && above[j] === p)) continue;
    place[i] = token.length;
    token.push(found);
    above.push(p);
    depth.push(depth[p] + 1);
  }
  const sources = new Uint32Array(token.length).fill(source, 1);
  return new TokenTree({ token, parent: above, source: sources });
}

/**
 * One tree with the nodes of all. A node that several propose has the largest of their reaches and all their sources; where the children of
 * a node would be more likely than the node, their shares are made smaller together. Children that were
 * given may be merged without changing what a verifier may output; drawn ones may not.
 * @param trees of one root
 * @throws {OutriderError} OUTRIDER_ARGUMENT for other roots, drawn children, or more than {@link maxTreeNodes} nodes
 */
export function merge(trees: readonly TokenTree[]): TokenTree {
  const [first] = trees;
  if (first === undefined) throw badArgument("trees", "at least one tree", trees);
  const token = [first.token[0]];
  const parent = [-1];
  const reach = [1];
  const source = [0];
  const nodes = new Map<number, number>(); // (parent, token) to node
  for (const tree of trees) {
    if (tree.token[0] !== token[0]) throw badArgument("trees", `trees for token ${token[0]}`, String(tree));
    if (tree.draws) throw badArgument("trees", "children that were given, not drawn", String(tree));
    const place = new Int32Array(tree.size);
    for (let i = 1; i < tree.size; i++) {
      const above = place[tree.parent[i]];
      const key = above * 2 ** 31 + tree.token[i];
      const at = nodes.get(key) ?? token.length;
      if (at === token.length) {
        nodes.set(key, at);
        token.push(tree.token[i]);
        parent.push(above);
        reach.push(0);
        source.push(0);
      }
      reach[at] = Math.max(reach[at], tree.reach[i]);
      source[at] |= tree.source[i];
      place[i] = at;
    }
  }
  // Of each node: what its children take together, as a share of its own reach.
  const taken = new Float64Array(token.length);
  const share = (i: number) => (reach[parent[i]] > 0 ? reach[i] / reach[parent[i]] : 0);
  for (let i = 1; i < token.length; i++) taken[parent[i]] += share(i);
  const fair = [1];
  for (let i = 1; i < token.length; i++) fair.push((fair[parent[i]] * share(i)) / Math.max(1, taken[parent[i]]));
  return new TokenTree({ token, parent, reach: fair, source: Uint32Array.from(source) });
}

/**
 * The `nodes` nodes of largest reach, the root among them; of equals the earlier. The rest keep their order. Since no node has more reach
 * than its parent, none loses its parent. Trees with drawn children come back whole or are refused: to drop a token because of what it is
 * would change the output law.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function prune(tree: TokenTree, nodes: number): TokenTree {
  if (!Number.isInteger(nodes) || nodes < 1) throw badArgument("nodes", "a positive integer", nodes);
  if (nodes >= tree.size) return tree;
  if (tree.draws) throw badArgument("tree", "children that were given, not drawn", String(tree));
  const kept = Array.from({ length: tree.size }, (_, i) => i)
    .sort((a, b) => tree.reach[b] - tree.reach[a] || a - b)
    .slice(0, nodes)
    .sort((a, b) => a - b);
  return subtree(tree, kept);
}

/** The nodes down to a depth. */
export function shallow(tree: TokenTree, depth: number): TokenTree {
  const kept = Array.from({ length: tree.size }, (_, i) => i).filter((i) => tree.depth[i] <= depth);
  return kept.length === tree.size ? tree : subtree(tree, kept);
}

/** @param kept nodes in order, with the parent of each */
function subtree(tree: TokenTree, kept: readonly number[]): TokenTree {
  const place = new Int32Array(tree.size);
  for (const [i, node] of kept.entries()) place[node] = i;
  return new TokenTree({
    token: kept.map((node) => tree.token[node]),
    parent: kept.map((node) => (node === 0 ? -1 : place[tree.parent[node]])),
    reach: kept.map((node) => tree.reach[node]),
    source: kept.map((node) => tree.source[node]),
  });
}
