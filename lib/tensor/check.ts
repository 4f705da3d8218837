// Checks of tensor arguments against one pattern string each: element types and dimensions, with the argument's name.

import { describe, OutriderError } from "../errors.ts";
import { isDType } from "./dtype.ts";
import { Tensor } from "./tensor.ts";

interface Pattern {
  types: readonly string[];
  /** "K" or "3"; a leading "..." stands for any number of dimensions. */
  dims: readonly string[];
  open: boolean;
}

const parsed = new Map<string, Pattern>();

function parse(pattern: string): Pattern {
  const known = parsed.get(pattern);
  if (known) return known;
  const match = /^([a-z0-9|]+)\[([^\]]*)\]$/.exec(pattern);
  const types = match?.[1].split("|") ?? [];
  const all = match?.[2] ? match[2].split(",").map((part) => part.trim()) : [];
  const open = all[0] === "...";
  const dims = open ? all.slice(1) : all;
  if (!match || !types.every(isDType) || !dims.every((dim) => /^([A-Za-z]\w*|\d+)$/.test(dim))) {
    throw new OutriderError(
      "OUTRIDER_INTERNAL",
      `Expected a pattern like "f32[T, H, D]", received ${describe(pattern)}`,
    );
  }
  const made = { types, dims, open };
  parsed.set(pattern, made);
  return made;
}

function received(value: unknown): string {
  if (!(value instanceof Tensor)) return describe(value);
  return `${value.dtype}[${(value.shape as readonly number[]).join(", ")}]`;
}

function mismatch(name: string, what: string, actual: string): OutriderError {
  return new OutriderError("OUTRIDER_SHAPE", `Expected ${what} for ${name}, received ${actual}`);
}

/**
 * Reads dimensions off tensors and checks that they agree. A pattern is `types[dims]`: `"f32[T, H, D]"`, `"f32|f16[..., K]"`
 * (any leading dimensions), `"i32[3]"`. A letter has one value in all patterns of a call; undefined tensors are skipped.
 * @throws {OutriderError} OUTRIDER_SHAPE naming the argument; OUTRIDER_DISPOSED for a tensor that is no longer live.
 * @example const { N, K } = bindDims<"N" | "K">({ x: [x, "f32[N, K]"], weight: [weight, "f32[K]"] });
 */
export function bindDims<Letter extends string>(
  args: Record<string, readonly [tensor: unknown, pattern: string]>,
): Record<Letter, number> {
  const bound = new Map<string, { value: number; from: string }>();
  for (const [name, [tensor, pattern]] of Object.entries(args)) {
    if (tensor === undefined) continue;
    const { types, dims, open } = parse(pattern);
    if (!(tensor instanceof Tensor) || !types.includes(tensor.dtype)) throw mismatch(name, pattern, received(tensor));
    const shape = tensor.shape as readonly number[];
    if (open ? shape.length < dims.length : shape.length !== dims.length)
      throw mismatch(name, pattern, received(tensor));
    void tensor.data; // throws unless the tensor is live
    dims.forEach((dim, i) => {
      const value = shape[shape.length - dims.length + i];
      const fixed = /^\d/.test(dim) ? { value: Number(dim), from: "" } : bound.get(dim);
      if (!fixed) bound.set(dim, { value, from: name });
      else if (fixed.value !== value) {
        const why = fixed.from ? ` (${dim} = ${fixed.value} as in ${fixed.from})` : "";
        throw mismatch(name, pattern + why, received(tensor));
      }
    });
  }
  return Object.fromEntries([...bound].map(([letter, { value }]) => [letter, value])) as Record<Letter, number>;
}
