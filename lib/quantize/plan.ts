// Which matrix gets how many bits.

import type { DecoderSpec } from "../native.ts";
import type { QuantizePlan } from "./options.ts";
import { type Part, parts } from "./tensors.ts";

/** A matrix of a block and how it is stored. */
export interface MatrixShape {
  rows: number;
  cols: number;
  bits: 2 | 3 | 4 | 8;
  group: number;
}

/** Rows and columns of the parts of a block. */
export function partSizes(spec: DecoderSpec): Record<Part, { rows: number; cols: number }> {
  const { hidden, ffn, heads, kvHeads, headDim } = spec;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  return {
    q: { rows: q, cols: hidden },
    k: { rows: kv, cols: hidden },
    v: { rows: kv, cols: hidden },
    o: { rows: hidden, cols: q },
    gate: { rows: ffn, cols: hidden },
    up: { rows: ffn, cols: hidden },
    down: { rows: hidden, cols: ffn },
  };
}

/** Bytes of a matrix in a file: codes, f16 scales and zeros. */
export function matrixBytes({ rows, cols, bits, group }: MatrixShape): number {
  return rows * (Math.ceil((cols * bits) / 8) + 4 * Math.ceil(cols / Math.min(group, cols)));
}

/** Every matrix of every block alike. */
export function uniformPlan(spec: DecoderSpec, bits: MatrixShape["bits"], group: number): MatrixShape[][] {
  const sizes = partSizes(spec);
  return spec.layers.map(() => parts.map((part) => ({ ...sizes[part], bits, group })));
}

/** A plan as users see it. */
export function describePlan(plan: readonly (readonly MatrixShape[])[], tables: number): QuantizePlan {
  let [bytes, weights] = [0, 0];
  const blocks = plan.map((shapes) => {
    const entries = shapes.map((shape, i) => {
      const own = matrixBytes(shape);
      bytes += own;
      weights += shape.rows * shape.cols;
      return [parts[i], { ...shape, bytes: own }] as const;
    });
    return Object.fromEntries(entries) as QuantizePlan["blocks"][number];
  });
  return { blocks, bitsPerWeight: (8 * bytes) / weights, bytes: { blocks: bytes, tables } };
}
