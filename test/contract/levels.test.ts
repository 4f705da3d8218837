// Which levels run here, by what the processor says of itself.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { native } from "../../lib/native.ts";

const needs = {
  avx2: ["avx2", "fma", "f16c"],
  "avx512-base": ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"],
  "avx512-vnni": ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"],
  avx512: ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"],
  "avx512-amx": ["avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"],
} as const;

test.skipIf(process.platform !== "linux" || process.arch !== "x64")("levels are those of the processor", () => {
  const flags = /^flags\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1].split(" ") ?? [];
  const { levels, level } = native.cpu();
  expect(levels).toContain("ref");
  expect(levels).toContain(level);
  for (const [name, wanted] of Object.entries(needs) as [keyof typeof needs, readonly string[]][]) {
    // Tiles are not asked for where OUTRIDER_ISA names another level.
    if (name === "avx512-amx" && process.env.OUTRIDER_ISA) continue;
    expect([name, levels.includes(name)]).toEqual([name, wanted.every((flag) => flags.includes(flag))]);
  }
});
