import { badArgument, expected } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { asInt32, finiteOr, nativeOps, type OpOptions, opInput } from "./native-ops.ts";
import type { RopeFrequencies } from "./rope-frequencies.ts";

/** Inputs of {@link rope}. Dims: T rows, H heads, D head size. */
export interface RopeInput extends OpOptions {
  /** `[T, H, D]`, rotated in place. */
  x: Tensor<"f32", 3>;
  /** Absolute position of each row, `[T]`. */
  positions: Tensor<"i32", 1>;
  /** From `ropeFrequencies`. Fewer than D / 2 frequencies rotate the first channels only. */
  frequencies: RopeFrequencies;
  /** Pair channels (2i, 2i + 1); otherwise (i, i + number of frequencies). @default false */
  interleaved?: boolean;
}

/**
 * Rotary position embedding: turns channel pair `i` of each head by `position * invFreq[i]`, the angle formed in f32.
 *
 * @returns `x`.
 * @throws {OutriderError} OUTRIDER_SHAPE for a tensor that does not match its documented type or shape.
 * @example rope({ x: q, positions, frequencies: ropeFrequencies({ type: "default", theta: 10000, dim: 64 }) });
 */
export function rope(input: RopeInput): Tensor<"f32", 3> {
  const { x, positions, frequencies, interleaved = false, level } = opInput(input, "x", "positions");
  const { T, H, D } = bindDims<"T" | "H" | "D">({ x: [x, "f32[T, H, D]"], positions: [positions, "i32[T]"] });
  if (!x.isContiguous) throw expected("OUTRIDER_SHAPE", "x", "a contiguous tensor", x);
  if (typeof frequencies !== "object" || frequencies === null)
    throw badArgument("frequencies", "what ropeFrequencies returns", frequencies);
  const { invFreq, magnitude } = frequencies;
  if (!(invFreq instanceof Float32Array)) throw badArgument("frequencies.invFreq", "a Float32Array", invFreq);
  if (2 * invFreq.length > D) {
    throw expected("OUTRIDER_SHAPE", "frequencies.invFreq", `at most ${Math.floor(D / 2)} values`, invFreq.length);
  }
  const m = finiteOr(magnitude, 1, "frequencies.magnitude");
  nativeOps.rope(x.data, asInt32(positions), invFreq, T, H, D, invFreq.length, m, interleaved === true, level);
  return x;
}
