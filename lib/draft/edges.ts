// Edges of automata and tries: numbered in the order in which they come, found by where they start and their token.

import { Column } from "./column.ts";

const none = -1;

/** Edges by (state, token), open addressing. */
export class Edges {
  readonly from = new Column();
  readonly token = new Column();
  #table = new Int32Array(256).fill(none);

  /** Where the edge of (from, token) is or would be in the table. */
  #place(from: number, token: number): number {
    const mask = this.#table.length - 1;
    let hash = Math.imul(from, 0x9e3779b1) ^ Math.imul(token, 0x85ebca77);
    hash ^= hash >>> 15;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const edge = this.#table[at];
      if (edge === none || (this.from.values[edge] === from && this.token.values[edge] === token)) return at;
    }
  }

  /** The number of an edge, or -1. */
  find(from: number, token: number): number {
    return this.#table[this.#place(from, token)];
  }

  /** The number of a new edge, which was not there before. */
  add(from: number, token: number): number {
    if (2 * (this.from.length + 1) > this.#table.length) {
      this.#table = new Int32Array(2 * this.#table.length).fill(none);
      for (let edge = 0; edge < this.from.length; edge++)
        this.#table[this.#place(this.from.values[edge], this.token.values[edge])] = edge;
    }
    const at = this.#place(from, token);
    this.token.push(token);
    this.#table[at] = this.from.push(from);
    return this.#table[at];
  }
}
