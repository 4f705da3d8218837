import { badArgument } from "../errors.ts";
import { bindDims } from "../tensor/check.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { asFloat32, type FloatType, nativeOps, type OpOptions, opInput, outputFor } from "./native-ops.ts";

/** Activation functions. `gelu_tanh` is the tanh form, `gelu` the one with erf. */
export type ActivationKind = "silu" | "gelu_tanh" | "gelu";

/** Inputs of {@link activation}. */
export interface ActivationInput<R extends number> extends OpOptions {
  kind: ActivationKind;
  /** Any shape. */
  gate: Tensor<FloatType, R>;
  /** The shape of `gate`. */
  up: Tensor<FloatType, R>;
  /** Receives the result; may be `gate` or `up`. @default a new tensor */
  out?: Tensor<"f32", R>;
}

/**
 * Gated activation of an MLP: `act(gate) * up`, element by element.
 *
 * @returns f32 of the shape of `gate`.
 * @throws {OutriderError} OUTRIDER_SHAPE if the shapes differ, OUTRIDER_ARGUMENT for another kind.
 * @example const y = activation({ kind: "silu", gate, up });
 */
export function activation<R extends number>(input: ActivationInput<R>): Tensor<"f32", R> {
  const { kind, gate, up, out, level } = opInput(input, "gate", "up");
  if (kind !== "silu" && kind !== "gelu_tanh" && kind !== "gelu") {
    throw badArgument("kind", "silu, gelu_tanh or gelu", kind);
  }
  bindDims({ gate: [gate, "f32|f16|bf16[...]"] });
  bindDims({ up: [up, `f32|f16|bf16[${(gate.shape as readonly number[]).join(", ")}]`] });
  const y = outputFor(out, gate);
  nativeOps.activation(kind, asFloat32(gate), asFloat32(up), y.data, gate.size, level);
  return y;
}
