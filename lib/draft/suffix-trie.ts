// Counts of all runs of up to a number of tokens in one or several texts.

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
  // Nodes; 0 is the root.
  #token = new Int32Array(256);
  #count = new Int32Array(256);
  #child = new Int32Array(256).fill(none); // first one
  #sibling = new Int32Array(256).fill(none);
  #parent = new Int32Array(256).fill(none);
  #table = new Int32Array(512).fill(none); // nodes by (parent, token), open addressing
  #size = 1;
  // Nodes of the runs that end with the last token, longest first.
  #open: number[] = [];

  constructor(depth: number) {
    this.depth = depth;
  }

  /** Nodes, the root included. */
  get size(): number {
    return this.#size;
  }

  #place(parent: number, token: number): number {
    const mask = this.#table.length - 1;
    let hash = Math.imul(parent, 0x9e3779b1) ^ Math.imul(token, 0x85ebca77);
    hash ^= hash >>> 15;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const node = this.#table[at];
      if (node === none || (this.#parent[node] === parent && this.#token[node] === token)) return at;
    }
  }

  /** The node of a run that is one token longer, or -1. */
  step(node: number, token: number): number {
    return this.#table[this.#place(node, token)];
  }

  #grow(): void {
    const larger = (old: Int32Array, fill: number) => {
      const column = new Int32Array(2 * old.length).fill(fill);
      column.set(old);
      return column;
    };
    this.#token = larger(this.#token, 0);
    this.#count = larger(this.#count, 0);
    this.#child = larger(this.#child, none);
    this.#sibling = larger(this.#sibling, none);
    this.#parent = larger(this.#parent, none);
    this.#table = new Int32Array(2 * this.#token.length).fill(none);
    for (let node = 1; node < this.#size; node++)
      this.#table[this.#place(this.#parent[node], this.#token[node])] = node;
  }

  #add(parent: number, token: number): number {
    const found = this.step(parent, token);
    if (found !== none) return found;
    if (this.#size === this.#token.length) this.#grow();
    const node = this.#size++;
    this.#token[node] = token;
    this.#parent[node] = parent;
    this.#sibling[node] = this.#child[parent];
    this.#child[parent] = node;
    this.#table[this.#place(parent, token)] = node;
    return node;
  }

  /** Adds a token to the text: every run that it ends counts once more. */
  append(token: number): void {
    const open = [];
    for (const node of [...this.#open, 0]) {
      const next = this.#add(node, token);
      this.#count[next] += 1;
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
    return this.#count[node];
  }

  /** Tokens of a run. */
  length(node: number): number {
    let length = 0;
    for (let at = node; at > 0; at = this.#parent[at]) length++;
    return length;
  }

  /** Whether anything followed a run. */
  hasMore(node: number): boolean {
    return this.#child[node] !== none;
  }

  /** What followed a run, most frequent first; of equals the one that was new last. @param most tokens, of the most frequent */
  continuations(node: number, most: number): Continuation[] {
    const found: Continuation[] = [];
    for (let child = this.#child[node]; child !== none; child = this.#sibling[child]) {
      const count = this.#count[child];
      if (found.length === most && count <= found[most - 1].count) continue;
      if (found.length === most) found.pop();
      let at = found.length;
      while (at > 0 && found[at - 1].count < count) at--;
      found.splice(at, 0, { token: this.#token[child], node: child, count });
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
