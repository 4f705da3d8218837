// A suffix automaton over a growing text: every text it holds, in a number of states below twice its length.

import { Column } from "./column.ts";
import { Edges } from "./edges.ts";

const none = -1;

/**
 * Blumer et al., "The smallest automaton recognizing the subwords of a text" (1985), built online. A state stands for all substrings that
 * end at the same places. {@link append} is O(1) amortised: about 100 bytes a token.
 */
export class SuffixAutomaton {
  /** The text. */
  readonly tokens = new Column();
  // States: the longest substring's length, the state of the longest suffix that ends elsewhere too, where the first ends, first edge.
  readonly #length = new Column();
  readonly #link = new Column();
  readonly #firstEnd = new Column();
  readonly #first = new Column();
  // Edges, and of each its target and the next edge of the same state.
  readonly #edges = new Edges();
  readonly #target = new Column();
  readonly #next = new Column();
  #last = 0;

  constructor() {
    this.#addState(0, none, none);
  }

  #addState(length: number, link: number, firstEnd: number): number {
    this.#link.push(link);
    this.#firstEnd.push(firstEnd);
    this.#first.push(none);
    return this.#length.push(length);
  }

  /** The state after `token`, or -1. */
  step(state: number, token: number): number {
    const edge = this.#edges.find(state, token);
    return edge === none ? none : this.#target.values[edge];
  }

  #setEdge(state: number, token: number, target: number): void {
    const found = this.#edges.find(state, token);
    if (found !== none) {
      this.#target.values[found] = target;
      return;
    }
    this.#target.push(target);
    this.#next.push(this.#first.values[state]);
    this.#first.values[state] = this.#edges.add(state, token);
  }

  /** Adds a token to the text. */
  append(token: number): void {
    const end = this.tokens.push(token);
    const state = this.#addState(end + 1, 0, end);
    let before = this.#last;
    while (before !== none && this.step(before, token) === none) {
      this.#setEdge(before, token, state);
      before = this.#link.values[before];
    }
    // Not in one line: the column may grow into another array while the suffix is found.
    const link = before === none ? 0 : this.#suffix(before, token);
    this.#link.values[state] = link;
    this.#last = state;
  }

  /** The state of the suffix that ends with `token` after `before`: split off if it stands for longer ones too. */
  #suffix(before: number, token: number): number {
    const found = this.step(before, token);
    const length = this.#length.values[before] + 1;
    if (this.#length.values[found] === length) return found;
    const copy = this.#addState(length, this.#link.values[found], this.#firstEnd.values[found]);
    for (let edge = this.#first.values[found]; edge !== none; edge = this.#next.values[edge])
      this.#setEdge(copy, this.#edges.token.values[edge], this.#target.values[edge]);
    this.#link.values[found] = copy;
    for (let at = before; at !== none && this.step(at, token) === found; at = this.#link.values[at])
      this.#setEdge(at, token, copy);
    return copy;
  }

  /** The longest end of the text that was there before: its length, and the position behind its first occurrence. */
  repeated(): { length: number; next: number } {
    return this.at(Math.max(0, this.#link.values[this.#last]));
  }

  /** Length of a state's longest substring, and the position behind its first occurrence. */
  at(state: number): { length: number; next: number } {
    return { length: this.#length.values[state], next: this.#firstEnd.values[state] + 1 };
  }

  /** The state of the longest suffix of (state, length) that can go on with `token`, after it; the root if there is none. */
  follow(state: number, length: number, token: number): { state: number; length: number } {
    let [at, matched] = [state, length];
    for (;;) {
      const next = this.step(at, token);
      if (next !== none) return { state: next, length: matched + 1 };
      if (this.#link.values[at] === none) return { state: 0, length: 0 };
      at = this.#link.values[at];
      matched = this.#length.values[at];
    }
  }
}
