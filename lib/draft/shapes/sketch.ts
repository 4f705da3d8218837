// A tree in the making, and what a draft model says behind its nodes.

/** A token that a model draws behind a node. Draws come in the order in which they are made, without replacement. */
export interface Drawn {
  token: number;
  /** Log-probability under the law of the draft model. */
  logq: number;
  /** The same with the noise of the text; without it where the text is greedy. Falls from draw to draw. */
  value: number;
  /** Estimated probability that the text says it after the node. */
  share: number;
}

/**
 * Draws with their shares. Under shared noise the text says the token of largest log p + g; the draft model knows log q + g, and how far one is ahead of the others is how sure it is:
 * the share of a draw is exp(value), of all draws and of the mass that was not drawn. Without noise that is q itself.
 * @param ids of the draws in order; the first below 0 ends them
 */
export function drawnOf(ids: ArrayLike<number>, logq: ArrayLike<number>, values: ArrayLike<number>): Drawn[] {
  const drawn: Drawn[] = [];
  let rest = 1;
  let total = 0;
  for (let i = 0; i < ids.length && ids[i] >= 0; i++) {
    drawn.push({ token: ids[i], logq: logq[i], value: values[i], share: Math.exp(values[i]) });
    rest -= Math.exp(logq[i]);
    total += drawn[i].share;
  }
  for (const draw of drawn) draw.share /= total + Math.max(0, rest);
  return drawn;
}

/** Nodes in the order in which they were added, the root first; parents come before their children. */
export class Sketch {
  readonly token: number[];
  readonly parent = [-1];
  readonly depth = [0];
  /** Estimated probability that the text comes to each node. */
  readonly reach = [1];

  constructor(root: number) {
    this.token = [root];
  }

  get size(): number {
    return this.token.length;
  }

  /** @param share estimated probability of the token given its parent @returns the node */
  add(parent: number, token: number, share: number): number {
    this.token.push(token);
    this.parent.push(parent);
    this.depth.push(this.depth[parent] + 1);
    this.reach.push(this.reach[parent] * Math.min(1, Math.max(0, share)));
    return this.size - 1;
  }
}

/**
 * The root and the `count` nodes of largest score, of equals the earlier, in order.
 * @param scores of all nodes; at most that of the parent, so that no node loses its parent
 */
export function largest(scores: readonly number[], count: number): number[] {
  const nodes = Array.from({ length: scores.length - 1 }, (_, i) => i + 1);
  const kept = nodes.sort((a, b) => scores[b] - scores[a] || a - b).slice(0, count);
  return [0, ...kept.sort((a, b) => a - b)];
}
