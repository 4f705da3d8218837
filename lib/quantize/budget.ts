// Bits under a byte budget: what each matrix costs at each number of bits, and the knapsack over that.

import { OutriderError } from "../errors.ts";
import { settle } from "../model/runtime.ts";
import { type NativeSurveyor, native } from "../native.ts";
import type { CalibrationTokens } from "./calibration.ts";
import type { Source } from "./model.ts";
import type { ResolvedQuantize } from "./options.ts";
import { type MatrixShape, matrixBytes, partSizes } from "./plan.ts";
import type { Run } from "./run.ts";
import { modulesOf, parts } from "./tensors.ts";

type Choice = Pick<MatrixShape, "bits" | "group">;

/** What a matrix may be stored in. */
const choices: readonly Choice[] = [
  { bits: 2, group: 64 },
  { bits: 2, group: 32 },
  { bits: 2, group: 16 },
  { bits: 3, group: 64 },
  { bits: 3, group: 32 },
  { bits: 4, group: 64 },
  { bits: 4, group: 32 },
  { bits: 8, group: 64 },
];

/** Calibration tokens that the survey looks at. */
export const surveyTokens = 4096;

/** Matrices that must be stored alike, and what they take and cost at each choice. */
export interface Item {
  bytes: readonly number[];
  costs: readonly number[];
}

/** A way from one choice to the next that is worth more bytes. */
interface Move {
  item: number;
  to: number;
  bytes: number;
  /** Cost saved for a byte. */
  slope: number;
}

/** The choices of an item on the lower convex hull of cost over bytes, cheapest first. */
function hull({ bytes, costs }: Item): number[] {
  const order = bytes.map((_, i) => i).sort((a, b) => bytes[a] - bytes[b] || costs[a] - costs[b]);
  const kept: number[] = [];
  const slope = (a: number, b: number) => (costs[a] - costs[b]) / (bytes[b] - bytes[a]);
  for (const next of order) {
    if (kept.length > 0 && costs[next] >= costs[kept[kept.length - 1]]) continue;
    while (kept.length > 1 && slope(kept[kept.length - 2], kept[kept.length - 1]) <= slope(kept[kept.length - 1], next))
      kept.pop();
    kept.push(next);
  }
  return kept;
}

/**
 * One choice for each item, so that all fit and cost least: the greedy walk over the convex hulls, which solves the relaxed problem, and
 * therefore is off by less than what one step of one item saves.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a budget below the smallest choices.
 */
export function knapsack(items: readonly Item[], budget: number): number[] {
  const hulls = items.map(hull);
  const taken = hulls.map(([first]) => first);
  let left = budget - taken.reduce((sum, choice, i) => sum + items[i].bytes[choice], 0);
  if (left < 0)
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      `Expected a budget of at least ${budget - left} bytes for the matrices of the blocks, received ${budget}`,
    );
  const moves = hulls.flatMap((choicesOf, item) =>
    choicesOf.slice(1).map((to, i): Move => {
      const { bytes, costs } = items[item];
      const more = bytes[to] - bytes[choicesOf[i]];
      return { item, to, bytes: more, slope: (costs[choicesOf[i]] - costs[to]) / more };
    }),
  );
  moves.sort((a, b) => b.slope - a.slope);
  const full = new Set<number>();
  for (const { item, to, bytes } of moves) {
    if (full.has(item)) continue;
    // Steps of an item follow one another: after one that does not fit there are no more.
    if (bytes > left) full.add(item);
    else {
      taken[item] = to;
      left -= bytes;
    }
  }
  return taken;
}

/** Costs of every part of every block at each of {@link choices}. */
async function survey(source: Source, tokens: CalibrationTokens, options: ResolvedQuantize): Promise<number[][][]> {
  const { threads, seed, signal, onProgress } = options;
  const { spec } = source.config;
  const { weights, files } = source.weights;
  const total = spec.layers.length;
  onProgress?.({ phase: "plan", done: 0, total });
  const surveyor: NativeSurveyor = await settle(
    native.surveyor({ spec, weights, files, ...tokens, threads, seed }),
    signal,
    () => false,
  );
  const costs: number[][][] = [];
  const start = performance.now();
  try {
    for (let done = 1; done <= total; done++) {
      const block = await settle(surveyor.block(choices), signal, () => false);
      costs.unshift(block.map((part) => Array.from(part)));
      const secondsLeft = ((performance.now() - start) / 1e3 / done) * (total - done);
      onProgress?.({ phase: "plan", done, total, secondsLeft });
    }
  } finally {
    surveyor.dispose();
  }
  return costs;
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT for a budget that not even the smallest choices fit. */
export function checkBudget(source: Source, budget: number): void {
  const sizes = partSizes(source.config.spec);
  const least = parts.reduce((sum, part) => sum + matrixBytes({ ...sizes[part], ...choices[0] }), 0);
  knapsack([{ bytes: [least * source.config.spec.layers.length], costs: [0] }], budget);
}

/**
 * The plan that costs least within `budget` bytes for the matrices of the blocks.
 * @throws {OutriderError} OUTRIDER_ARGUMENT for a budget that is too small.
 */
export async function budgetPlan(
  source: Source,
  run: Run,
  budget: number,
  tokens: CalibrationTokens,
  options: ResolvedQuantize,
): Promise<MatrixShape[][]> {
  const sizes = partSizes(source.config.spec);
  const { fused } = source.config.family;
  const shape = (part: (typeof parts)[number], choice: Choice): MatrixShape => ({ ...sizes[part], ...choice });
  const known = await run.read<number[][][]>("survey");
  const costs = known ?? (await survey(source, tokens, options));
  if (!known) await run.write("survey", costs);
  // Parts of one module are one item.
  const units = costs.flatMap((_, layer) => modulesOf(fused).map(({ parts: held }) => ({ layer, held })));
  const items = units.map(
    ({ layer, held }): Item => ({
      bytes: choices.map((choice) => held.reduce((sum, part) => sum + matrixBytes(shape(part, choice)), 0)),
      costs: choices.map((_, i) => held.reduce((sum, part) => sum + costs[layer][parts.indexOf(part)][i], 0)),
    }),
  );
  const taken = knapsack(items, budget);
  const plan = costs.map(() => [] as MatrixShape[]);
  for (const [i, { layer, held }] of units.entries())
    for (const part of held) plan[layer][parts.indexOf(part)] = shape(part, choices[taken[i]]);
  return plan;
}
