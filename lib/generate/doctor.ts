// What outrider finds on this machine: the answers most bug reports need.

import os from "node:os";
import { checkThreads } from "../errors.ts";
import { hubCache } from "../load/hub.ts";
import { defaultModelFolder } from "../load/source.ts";
import { addonPath, currentPlatform } from "../load-addon.ts";
import { native } from "../native.ts";
import { checkOptions } from "./arguments.ts";

/** Result of {@link doctor}. */
export interface Diagnosis {
  platform: string;
  glibc: string | undefined;
  node: string;
  cpu: string;
  threads: number;
  /** CPU level in use, why, and all the machine has. */
  level: string;
  levelReason: string;
  levels: string[];
  /** Memory bandwidth measured with `threads` threads, in GB/s (1e9 bytes). */
  bandwidthGBps: number;
  /** Peaks of multiply-accumulates measured with `threads` threads, in 1e9 per second; 0 where the level has no instruction for them. */
  int8PeakGmacs: number;
  bf16PeakGmacs: number;
  f32PeakGmacs: number;
  memoryBytes: number;
  addon: string;
  modelCache: string;
  defaultModel: string;
}

/**
 * Looks at the machine; takes about a second, most of it the bandwidth probe.
 * @param options.threads threads of the bandwidth probe. @default what the machine offers this process
 */
export async function doctor(options: { threads?: number } = {}): Promise<Diagnosis> {
  checkOptions(options, ["threads"]);
  const where = currentPlatform();
  const { level, reason, levels, threads: offered } = native.cpu();
  const { threads = offered } = options;
  checkThreads(threads);
  const bandwidth = await native.probeBandwidth(threads).promise;
  const int8Peak = await native.probeInt8Peak(threads).promise;
  const bf16Peak = await native.probeBf16Peak(threads).promise;
  const f32Peak = await native.probeF32Peak(threads).promise;
  return {
    platform: `${where.platform}-${where.arch}`,
    glibc: where.glibc,
    node: where.node,
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    threads: offered,
    level,
    levelReason: reason,
    levels,
    bandwidthGBps: Math.round((bandwidth ?? 0) * 10) / 10,
    int8PeakGmacs: Math.round(int8Peak ?? 0),
    bf16PeakGmacs: Math.round(bf16Peak ?? 0),
    f32PeakGmacs: Math.round(f32Peak ?? 0),
    memoryBytes: os.totalmem(),
    addon: addonPath(),
    modelCache: hubCache(),
    defaultModel: defaultModelFolder(),
  };
}
