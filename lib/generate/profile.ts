// OUTRIDER_PROFILE: where the time of all steps went, as a table on stderr and a trace file, written when the process ends.

import { writeFileSync } from "node:fs";
import { type NativeProfile, native } from "../native.ts";

/** One line of the table: a phase over all layers and calls, on the first thread. */
export interface PhaseTime {
  phase: string;
  calls: number;
  microseconds: number;
  /** Of the time of all phases. */
  share: number;
}

/** The phases of the first thread by time, most first. */
export function phaseTimes({ phases, phase, thread, begin, end }: NativeProfile): PhaseTime[] {
  const times = phases.map((name) => ({ phase: name, calls: 0, microseconds: 0, share: 0 }));
  let total = 0;
  for (let i = 0; i < phase.length; i++) {
    if (thread[i] !== 0) continue;
    const time = times[phase[i]];
    time.calls += 1;
    time.microseconds += end[i] - begin[i];
    total += end[i] - begin[i];
  }
  for (const time of times) time.share = total > 0 ? time.microseconds / total : 0;
  return times.filter(({ calls }) => calls > 0).sort((a, b) => b.microseconds - a.microseconds);
}

/** Microseconds of the first thread in each layer, waits excluded (they belong to none). */
export function layerTimes({ layer, thread, begin, end }: NativeProfile): number[] {
  const times: number[] = [];
  for (let i = 0; i < layer.length; i++) {
    if (thread[i] !== 0 || layer[i] < 0) continue;
    times[layer[i]] = (times[layer[i]] ?? 0) + end[i] - begin[i];
  }
  return Array.from(times, (time) => time ?? 0);
}

/** Events of the Trace Event Format, which chrome://tracing and Perfetto read. */
export function traceEvents(profile: NativeProfile): object[] {
  const { phases, phase, layer, thread, begin, end } = profile;
  return Array.from(phase, (which, i) => ({
    name: phases[which],
    ph: "X",
    ts: begin[i],
    dur: end[i] - begin[i],
    pid: process.pid,
    tid: thread[i],
    ...(layer[i] >= 0 ? { args: { layer: layer[i] } } : {}),
  }));
}

function report(file: string): void {
  const profile = native.takeProfile();
  if (profile.phase.length === 0) return;
  const lines = phaseTimes(profile).map(({ phase, calls, microseconds, share }) =>
    [
      phase.padEnd(10),
      String(calls).padStart(9),
      `${(microseconds / 1e3).toFixed(1)} ms`.padStart(14),
      `${(microseconds / calls).toFixed(1)} us`.padStart(12),
      `${(share * 100).toFixed(1)} %`.padStart(8),
    ].join(""),
  );
  const layers = layerTimes(profile).map((time) => (time / 1e3).toFixed(1));
  const head = [
    "phase".padEnd(10),
    "calls".padStart(9),
    "total".padStart(14),
    "each".padStart(12),
    "share".padStart(8),
  ];
  process.stderr.write(`${[head.join(""), ...lines].join("\n")}\nms by layer: ${layers.join(" ")}\n`);
  try {
    writeFileSync(file, JSON.stringify({ traceEvents: traceEvents(profile) }));
    process.stderr.write(`trace: ${file}\n`);
  } catch (error) {
    process.stderr.write(`outrider: cannot write the trace to ${file}: ${(error as Error).message}\n`);
  }
}

let on = false;

/**
 * Records from now on if OUTRIDER_PROFILE is set: to "1" for a file outrider-profile-PID.json in the working folder, or to the path
 * of the file. Call as often as you like.
 */
export function profileFromEnvironment(): void {
  const wish = process.env.OUTRIDER_PROFILE;
  if (on || wish === undefined || wish === "" || wish === "0") return;
  on = true;
  native.setProfile(true);
  process.once("exit", () => report(wish === "1" ? `outrider-profile-${process.pid}.json` : wish));
}
