// What a model file says about one tensor: where its bytes lie and how they are encoded.
// The readers in lib/load make these; the weight map in lib/model turns them into the sources the addon loads from.

/** Element or block encodings a model file may hold. GGUF block types keep GGUF's own names. */
export type StoredFormat =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u64"
  | "u32"
  | "u16"
  | "u8"
  | "bool"
  | "f8_e4m3"
  | "f8_e5m2"
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "q8_0"
  | "q2_k"
  | "q3_k"
  | "q4_k"
  | "q5_k"
  | "q6_k";

/** One tensor inside a file. `shape` is outermost first (row-major); a matrix is `[outputs, inputs]`. */
export interface TensorEntry {
  readonly name: string;
  readonly format: StoredFormat;
  readonly shape: readonly number[];
  /** Absolute path of the file that holds the bytes. */
  readonly file: string;
  /** Byte offset from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** Tensors of a model by name, from one file or from many shards. */
export type TensorTable = ReadonlyMap<string, TensorEntry>;
