// The shapes of trees that can be asked for.

import { badArgument, checkOptions } from "../../errors.ts";
import { maxTreeNodes } from "../../tree/token-tree.ts";
import { checkInteger, checkProbability } from "../check-integer.ts";
import { BeamShape } from "./beam.ts";
import { ConfidenceShape } from "./confidence.ts";
import { ConstantShape } from "./constant.ts";
import { DynamicShape } from "./dynamic.ts";
import type { Shape } from "./growth.ts";
import { PathsShape } from "./paths.ts";
import { StaticShape } from "./static.ts";

/**
 * What a draft model grows: one chain, or a tree, level by level. Of a tree the policy evaluates what pays. Children of a node are its first draws without replacement under the noise of
 * the text; of a greedy text, its likeliest tokens.
 * - `constant`: `branching[d]` children for every node at depth d (RSD-C).
 * - `beam`: the `width` sequences of largest perturbed probability at every level (RSD-S, a stochastic beam).
 * - `paths`: `count` independent chains, equal beginnings merged (SpecTr).
 * - `dynamic`: the `nodes` that are worth most by what the draft model says (DySpec), none that is worth less than `threshold`, default 0.
 * - `static`: the template of `nodes` with most expected tokens, by acceptance that is learnt from the texts (Sequoia).
 * - `confidence`: `width` nodes a level with as many children each, and of all these the `nodes` likeliest (EAGLE-2).
 */
export type DraftShape =
  | "chain"
  | { kind: "constant"; branching: readonly number[] }
  | { kind: "beam"; width: number; depth: number }
  | { kind: "paths"; count: number; depth: number }
  | { kind: "dynamic"; nodes: number; depth: number; threshold?: number }
  | { kind: "static"; nodes: number; depth: number }
  | { kind: "confidence"; width: number; nodes: number; depth: number };

/** Nodes of a tree without its root. */
const mostNodes = maxTreeNodes - 1;
/** Levels, and draws of a node: the engine gives 64, and one more than asked for says how sure the last is. */
const [mostDepth, mostWidth] = [64, 63];

const checkDepth = (depth: number) => checkInteger("shape.depth", depth, 1, mostDepth);
const checkNodes = (nodes: number) => checkInteger("shape.nodes", nodes, 1, mostNodes);

function checkRows(names: string, rows: number): void {
  if (rows > mostNodes) throw badArgument(names, `at most ${mostNodes} nodes in all`, rows);
}

/** Rules of each kind: members beside `kind`, their checks, and what grows such trees. */
const kinds: {
  [K in Exclude<DraftShape, string>["kind"]]: {
    members: readonly string[];
    make(shape: Extract<DraftShape, { kind: K }>): () => Shape;
  };
} = {
  constant: {
    members: ["branching"],
    make({ branching }) {
      if (!Array.isArray(branching) || branching.length < 1 || branching.length > mostDepth)
        throw badArgument("shape.branching", `an array of 1 to ${mostDepth} integers`, branching);
      let [level, nodes] = [1, 0];
      for (const [depth, count] of branching.entries()) {
        checkInteger(`shape.branching[${depth}]`, count, 1, mostWidth);
        level *= count;
        nodes += level;
      }
      checkRows("shape.branching", nodes);
      const copy = Object.freeze([...branching]);
      return () => new ConstantShape(copy);
    },
  },
  beam: {
    members: ["width", "depth"],
    make({ width, depth }) {
      checkInteger("shape.width", width, 1, mostWidth);
      checkDepth(depth);
      checkRows("shape.width times shape.depth", width * depth);
      return () => new BeamShape(width, depth);
    },
  },
  paths: {
    members: ["count", "depth"],
    make({ count, depth }) {
      checkInteger("shape.count", count, 1, mostWidth);
      checkDepth(depth);
      checkRows("shape.count times shape.depth", count * depth);
      return () => new PathsShape(count, depth);
    },
  },
  dynamic: {
    members: ["nodes", "depth", "threshold"],
    make({ nodes, depth, threshold = 0 }) {
      checkNodes(nodes);
      checkDepth(depth);
      checkProbability("shape.threshold", threshold);
      return () => new DynamicShape(nodes, depth, threshold);
    },
  },
  static: {
    members: ["nodes", "depth"],
    make({ nodes, depth }) {
      checkNodes(nodes);
      checkDepth(depth);
      return () => new StaticShape(nodes, depth);
    },
  },
  confidence: {
    members: ["width", "nodes", "depth"],
    make({ width, nodes, depth }) {
      checkInteger("shape.width", width, 1, mostWidth);
      checkNodes(nodes);
      checkDepth(depth);
      checkRows("shape.width times shape.depth", width * depth);
      return () => new ConfidenceShape(width, nodes, depth);
    },
  },
};

/**
 * What makes shapes of a kind; undefined for chains.
 * @throws {OutriderError} OUTRIDER_ARGUMENT
 */
export function shapeMaker(shape: DraftShape): (() => Shape) | undefined {
  if (shape === "chain") return undefined;
  const names = Object.keys(kinds).join(", ");
  if (typeof shape !== "object" || shape === null)
    throw badArgument("shape", `"chain" or an object with a kind: ${names}`, shape);
  if (!Object.hasOwn(kinds, shape.kind)) throw badArgument("shape.kind", `one of ${names}`, shape.kind);
  const { members, make } = kinds[shape.kind];
  checkOptions(shape, ["kind", ...members], "shape");
  return make(shape as never);
}
