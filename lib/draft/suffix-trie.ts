// Counts of all runs of up to a number of tokens in one or several texts.

import { Column } from "./column.ts";
import { Edges } from "./edges.ts";

const none = -1;

/** Tokens that may follow, and how often they did. */
export interface Continuation {
  token: number;
  node: number;
  count: number;
}

/**
 * A trie of every run of at most `depth` tokens, with counts. Adding a token takes a step for each of the runs it ends; a
 * node is about 24 bytes, and a text has at most `depth` nodes a token.
 */
export class SuffixTrie {
  readonly depth: number;
  // Every node but the root, which is 0, is the end of an edge: node i of edge i - 1.
  readonly #edges = new Edges();
  readonly #count = new Column();
  readonly #child = new Column(); // first one
  readonly #sibling = new Column();
  // Nodes of the runs that end with the last token, longest first.
  #open: number[] = [];

  constructor(depth: number) {
    this.depth = depth;
    this.#addNode();
  }

  /** Nodes, the root included. */
  get size(): number {
    return this.#count.length;
  }

  /** The node of a run that is one token longer, or -1. */
  step(node: number, token: number): number {
    const edge = this.#edges.find(node, token);
    return edge === none ? none : edge + 1;
  }

  #addNode(): void {
    this.#count.push(0);
    this.#child.push(none);
    this.#sibling.push(none);
  }

  #add(parent: number, token: number): number {
    const found = this.step(parent, token);
    if (found !== none) return found;
    this.#addNode();
    const node = this.#edges.add(parent, token) + 1;
    this.#sibling.values[node] = this.#child.values[parent];
    this.#child.values[parent] = node;
    return node;
  }

  /** Adds a token to the text: every run that it ends counts once more. */
  append(token: number): void {
    const open = [];
    for (const node of [...this.#open, 0]) {
      const next = this.#add(node, token);
      this.#count.values[next] += 1;
      open.push(next);
    }
    this.#open = open.length >= this.depth ? open.slice(open.length - this.depth + 1) : open;
  }

  /** Ends the text: the next token begins another. */
  cut(): void {
    this.#open = [];
  }

  /** Nodes of the runs that end with the last token, longest first, and below `depth`. */
  get ends(): readonly number[] {
    return this.#open;
  }

  /** How often a run occurred: at least as often as something followed it. */
  count(node: number): number {
    return this.#count.values[node];
  }

  /** Tokens of a run. */
  length(node: number): number {
    let length = 0;
    for (let at = node; at > 0; at = this.#edges.from.values[at - 1]) length++;
    return length;
  }

  /** Whether anything followed a run. */
  hasMore(node: number): boolean {
    return this.#child.values[node] !== none;
  }

  /** How often anything followed a run, and how many different tokens did. */
  following(node: number): { count: number; kinds: number } {
    let [count, kinds] = [0, 0];
    for (let child = this.#child.values[node]; child !== none; child = this.#sibling.values[child]) {
      count += this.#count.values[child];
      kinds += 1;
    }
    return { count, kinds };
  }

  /** What followed a run, most frequent first; of equals the one that was new last. @param most tokens, of the most frequent */
  continuations(node: number, most: number): Continuation[] {
    const found: Continuation[] = [];
    for (let child = this.#child.values[node]; child !== none; child = this.#sibling.values[child]) {
      const count = this.#count.values[child];
      if (found.length === most && count <= found[most - 1].count) continue;
      if (found.length === most) found.pop();
      let at = found.length;
      while (at > 0 && found[at - 1].count < count) at--;
      found.splice(at, 0, { token: this.#edges.token.values[child - 1], node: child, count });
    }
    return found;
  }

  /** Nodes of the ends of another text after one more token; pass what this returned for the token before. */
  follow(ends: readonly number[], token: number): number[] {
    const next = [];
    for (const node of [...ends, 0]) {
      const found = this.step(node, token);
      if (found !== none) next.push(found);
    }
    return next;
  }
}
