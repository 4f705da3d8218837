// The addon: its whole surface as one interface, and nothing of its meaning. Finding and loading it is lib/load-addon.ts.

import { OutriderError } from "./errors.ts";
import { loadAddon } from "./load-addon.ts";
import type { DecoderSpec, ModelWeights } from "./native/decoder.ts";
import type {
  Level,
  NativeJob,
  NativeModel,
  NativeSampler,
  NativeSamplerOptions,
  NativeStoppingHead,
  NativeStoppingHeadOptions,
  SnapshotBytes,
} from "./native/engine.ts";
import type { NativeDistiller, NativeQuantizer, NativeSurveyor, QuantizeInput } from "./native/quantizer.ts";

export * from "./native/decoder.ts";
export * from "./native/engine.ts";
export * from "./native/quantizer.ts";

/** Spans of time recorded by engine threads, one entry each. */
export interface NativeProfile {
  /** Names that `phase` indexes. */
  phases: string[];
  phase: Uint8Array;
  /** -1: no layer. */
  layer: Int16Array;
  thread: Int16Array;
  /** Microseconds of a steady clock. */
  begin: Float64Array;
  end: Float64Array;
}

/** The addon's whole surface. */
export interface NativeAddon {
  setErrorClass(errorClass: typeof OutriderError): void;
  cpu(): { level: Level; reason: string; levels: Level[]; threads: number };
  /** GB/s, 1e9 bytes. */
  probeBandwidth(threads: number): NativeJob<number>;
  /** 1e9 multiply-accumulates per second of vectors, of the chosen level; 0 where it has no instruction for them. */
  probeInt8Peak(threads: number): NativeJob<number>;
  probeBf16Peak(threads: number): NativeJob<number>;
  probeF32Peak(threads: number): NativeJob<number>;
  /** Whether spans are recorded. @default false */
  setProfile(on: boolean): void;
  /** The spans recorded since the last call. */
  takeProfile(): NativeProfile;
  loadModel(options: {
    spec: DecoderSpec;
    weights: ModelWeights;
    files: string[];
    key: string;
    threads: number;
  }): NativeJob<NativeModel> & { progress(): number };
  /** `beside`: whether the original is run beside the quantised model, for decoupleq to aim at and for blocks to be trained to. @default false */
  quantizer(options: QuantizeInput & { beside?: boolean }): NativeJob<NativeQuantizer>;
  /** Runs the model on the tokens, and backwards from tokens that it draws. */
  surveyor(options: QuantizeInput & { seed: number }): NativeJob<NativeSurveyor>;
  /** Opens the files; blocks are then added in order, and {@link NativeDistiller.ready} called. */
  distiller(
    options: QuantizeInput & {
      /** How embedding and head are rounded. */
      tableBits: 4 | 8 | 16;
      tableGroup: number;
      seed: number;
      /** Of the first step, relative to the size of what is trained. */
      rate: number;
      steps: number;
    },
  ): NativeJob<NativeDistiller>;
  /** That many bytes of native memory, 0. */
  snapshotBytes(length: number): SnapshotBytes;
  writeSnapshotBytes(bytes: SnapshotBytes, offset: number, piece: Uint8Array): void;
  NativeSampler: new (options: NativeSamplerOptions) => NativeSampler;
  NativeStoppingHead: new (options: NativeStoppingHeadOptions) => NativeStoppingHead;
}

/** The loaded addon. Every other module reaches native code through this one value. */
export const native: NativeAddon = loadAddon() as NativeAddon;
native.setErrorClass(OutriderError);
