/** Metadata values by their GGUF type. */
export type GgufField =
  | { u32: number }
  | { i32: number }
  | { f32: number }
  | { bool: boolean }
  | { string: string }
  | { strings: readonly string[] }
  | { f32s: readonly number[] }
  | { i32s: readonly number[] };

/** A tensor without its bytes: shape in row-major order (outermost first) and type number. */
export interface GgufEntry {
  name: string;
  shape: readonly number[];
  type: number;
  byteLength: number;
}

/** A tensor with its bytes as stored. */
export interface GgufTensor {
  name: string;
  shape: readonly number[];
  type: number;
  data: Uint8Array;
}

/** Type numbers of the format. */
export const ggufTypes: Readonly<
  Record<
    "f32" | "f16" | "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q8_0" | "q2_k" | "q3_k" | "q4_k" | "q5_k" | "q6_k" | "bf16",
    number
  >
>;

/** Alignment of tensors in the file. */
export const ggufAlignment: number;

/** Everything before the first tensor of a GGUF v3 file. Tensors follow in order, each padded to the alignment. */
export function ggufHead(metadata: Readonly<Record<string, GgufField>>, tensors: readonly GgufEntry[]): Buffer;

/** A whole GGUF v3 file. */
export function writeGguf(metadata: Readonly<Record<string, GgufField>>, tensors: readonly GgufTensor[]): Buffer;
