// What outrider finds on this machine: the answers most bug reports need.

import os from "node:os";
import { hubCache } from "../load/hub.ts";
import { defaultModelFolder } from "../load/source.ts";
import { addonPath, currentPlatform } from "../load-addon.ts";
import { native } from "../native.ts";

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
  /** Memory bandwidth measured with all threads, in GB/s (1e9 bytes). */
  bandwidthGBps: number;
  memoryBytes: number;
  addon: string;
  modelCache: string;
  defaultModel: string;
}

/** Looks at the machine; takes about a second, most of it the bandwidth probe. */
export async function doctor(): Promise<Diagnosis> {
  const where = currentPlatform();
  const { level, reason, levels, threads } = native.cpu();
  const bandwidth = await native.probeBandwidth(threads).promise;
  return {
    platform: `${where.platform}-${where.arch}`,
    glibc: where.glibc,
    node: where.node,
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    threads,
    level,
    levelReason: reason,
    levels,
    bandwidthGBps: Math.round((bandwidth ?? 0) * 10) / 10,
    memoryBytes: os.totalmem(),
    addon: addonPath(),
    modelCache: hubCache(),
    defaultModel: defaultModelFolder(),
  };
}
