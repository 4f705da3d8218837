// Trees of shapes from draft models small enough to enumerate.
import type { Growth, Shape } from "../../lib/draft/shapes/growth.ts";
import { type Drawn, drawnOf, Sketch } from "../../lib/draft/shapes/sketch.ts";
import type { Law } from "../../lib/tree/law.ts";
import type { Toy } from "./toy-models.ts";

/** The first draws of a law without replacement: its likeliest tokens, or with noise from uniform numbers. */
export function drawsOf(law: Law, count: number, noise?: () => number): Drawn[] {
  const tokens = Array.from(law.ids, (token) => {
    const logq = Math.log(law.at(token));
    return { token, logq, value: logq + (noise ? -Math.log(-Math.log(noise())) : 0) };
  });
  const first = tokens.sort((a, b) => b.value - a.value || a.token - b.token).slice(0, count);
  const column = (name: "token" | "logq" | "value") => first.map((one) => one[name]);
  return drawnOf(column("token"), column("logq"), column("value"));
}

/** Tokens from below the root to a node. */
export function pathOf(sketch: Sketch, node: number): number[] {
  const path: number[] = [];
  for (let at = node; at > 0; at = sketch.parent[at]) path.unshift(sketch.token[at]);
  return path;
}

/** A grown tree: its nodes as paths in order, what was drawn behind every path, and the rows that were evaluated. */
export interface ToyTree {
  sketch: Sketch;
  growth: Growth;
  paths: string[];
  behind: (path: readonly number[]) => Drawn[];
  rows: number;
}

/** Grows a tree of a shape behind token 0. @param noise uniform numbers; absent: a greedy text */
export function growToy(
  shape: Shape,
  draft: Toy,
  {
    nodes = 255,
    depth = shape.depth,
    noise,
    coin = () => 0.5,
  }: {
    nodes?: number;
    depth?: number;
    noise?: () => number;
    coin?: () => number;
  } = {},
): ToyTree {
  const growth = shape.start(nodes, depth, coin);
  const sketch = new Sketch(0);
  const memo = new Map<string, Drawn[]>();
  const behind = (path: readonly number[]) => {
    const key = path.join();
    const drawn = memo.get(key) ?? drawsOf(draft([0, ...path]), growth.draws + 1, noise);
    memo.set(key, drawn);
    return drawn;
  };
  let rows: readonly number[] = [0];
  let evaluated = 0;
  while (rows.length > 0) {
    evaluated += rows.length;
    const drawn = rows.map((row) => behind(pathOf(sketch, row)));
    rows = growth.grow(sketch, rows, drawn).filter((node) => sketch.depth[node] < depth);
  }
  const kept = growth.keep?.(sketch) ?? Array.from(sketch.token.keys());
  const paths = kept.slice(1).map((node) => pathOf(sketch, node).join());
  return { sketch, growth, paths, behind, rows: evaluated };
}
