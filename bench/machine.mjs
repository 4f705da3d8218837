// The machine a table is from.
import { readFileSync } from "node:fs";
import os from "node:os";

/** The processor as the system calls it, with its family where that tells more: virtual machines hide the rest of the name. */
export function processor() {
  const name = os.cpus()[0].model.trim();
  let text = "";
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return { cpu: name, key: os.arch() };
  }
  const field = (key) => new RegExp(`^${key}\\s*:\\s*(\\S+)`, "m").exec(text)?.[1];
  const [vendor, family, model] = ["vendor_id", "cpu family", "model"].map(field);
  if (vendor === undefined || family === undefined) return { cpu: name, key: os.arch() };
  const maker = { AuthenticAMD: "amd", GenuineIntel: "intel" }[vendor] ?? vendor.toLowerCase();
  const exact = `family ${family} model ${model}`;
  return { cpu: `${name}, ${exact}`, key: `${maker}${family}-${model}` };
}
