// The window of lookahead decoding: guesses for the tokens to come, made better by every step that evaluates them.

import type { DraftOutcome } from "./drafter.ts";

/** Multiplier and increment of a full-period generator modulo 2^32 (Numerical Recipes, section 7.1). */
const [multiplier, increment] = [1664525, 1013904223];

/** Where each guess of the rows stands: `node[level][column]`. */
interface Layout {
  token: number[];
  parent: number[];
  node: number[][];
}

/**
 * Guesses in levels: the one of level l and column j stands l + j + 1 tokens after the root. It sees the text, the guesses of level 0 up to its column, and those of its own column in the levels
 * below its own (arXiv:2402.02057, figure 5). So level 0 is a chain and every other guess hangs on the one below it: a tree.
 */
export class JacobiWindow {
  readonly #columns: number;
  readonly #most: number;
  readonly #prompt: ArrayLike<number>;
  readonly #levels: number[][];
  #random = 1;
  #evaluated: Layout | undefined;

  /**
   * @param prompt tokens that first guesses are taken from
   * @param columns tokens to come that are guessed at once
   * @param levels of the window once it is full
   */
  constructor(prompt: ArrayLike<number>, columns: number, levels: number) {
    this.#columns = columns;
    this.#most = levels;
    this.#prompt = prompt;
    this.#levels = [Array.from({ length: columns }, () => this.#anyToken())];
  }

  /** Any token of the prompt, the same ones for the same prompt. */
  #anyToken(): number {
    this.#random = (Math.imul(this.#random, multiplier) + increment) >>> 0;
    return this.#prompt[Math.floor((this.#random / 2 ** 32) * this.#prompt.length)];
  }

  /**
   * The rows of as many columns as fit, as a tree of the root; undefined if none does.
   * @param most rows without the root
   * @param depth tokens below the root that a row may stand at
   */
  rows(root: number, most: number, depth: number): { token: number[]; parent: number[] } | undefined {
    const height = this.#levels.length;
    const columns = Math.min(this.#columns, Math.floor(most / height), depth - height + 1);
    this.#evaluated = undefined;
    if (columns < 1) return undefined;
    const layout: Layout = { token: [root], parent: [-1], node: this.#levels.map(() => []) };
    const known = new Map<string, number>();
    for (let level = 0; level < height; level++) {
      for (let column = 0; column < columns; column++) {
        const above = level > 0 ? layout.node[level - 1][column] : column > 0 ? layout.node[0][column - 1] : 0;
        const token = this.#levels[level][column];
        const name = `${above} ${token}`;
        const at = known.get(name) ?? layout.token.length; // siblings that guess the same are one row
        if (at === layout.token.length) {
          layout.token.push(token);
          layout.parent.push(above);
          known.set(name, at);
        }
        layout.node[level][column] = at;
      }
    }
    this.#evaluated = layout;
    return { token: layout.token, parent: layout.parent };
  }

  /**
   * Takes over what the model says after each guess of the last `rows`, and moves one token on.
   * @param evaluated rows of the step, among them those
   * @param best id of the largest logit of each
   * @returns runs with the token that each follows, once the window is full
   */
  advance({ token, parent }: DraftOutcome["rows"], best: Int32Array): [number, Int32Array][] {
    const layout = this.#evaluated;
    this.#evaluated = undefined;
    if (!layout) return [];
    const rowOf = new Map<string, number>();
    for (const [row, above] of parent.entries()) rowOf.set(`${above} ${token[row]}`, row);
    const place = [rowOf.get(`-1 ${layout.token[0]}`)];
    for (let node = 1; node < layout.token.length; node++)
      place.push(rowOf.get(`${place[layout.parent[node]]} ${layout.token[node]}`));
    const last = layout.node[layout.node.length - 1];
    const said = Array.from({ length: this.#columns }, (_, column) => {
      const row = column < last.length ? place[last[column]] : undefined;
      return row === undefined ? undefined : best[row];
    });
    const full = this.#levels.length === this.#most;
    const runs: [number, Int32Array][] = [];
    for (const [column, next] of said.entries()) {
      if (!full || next === undefined) continue;
      const [first, ...rest] = this.#levels.map((level) => level[column]);
      runs.push([first, Int32Array.of(...rest, next)]);
    }
    const fresh = said.map((next) => next ?? this.#anyToken());
    this.#levels.push(fresh);
    // One token on: the lowest level is behind the text, or each level loses its first column.
    if (full) this.#levels.shift();
    else for (const level of this.#levels) level.splice(0, level.length, ...level.slice(1), this.#anyToken());
    return runs;
  }
}
