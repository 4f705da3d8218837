// Finds and loads outrider.node: a build of this checkout, or the prebuilt binary of a release. Never compiles, never downloads.

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { OutriderError } from "./errors.ts";

const require = createRequire(import.meta.url);
const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** What a loader failure needs to say about the machine. */
export interface Platform {
  platform: string;
  arch: string;
  /** glibc version, or undefined on musl and other systems. */
  glibc: string | undefined;
  node: string;
}

/** The machine this process runs on. */
export function currentPlatform(): Platform {
  const header = (process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)?.header;
  return { platform: process.platform, arch: process.arch, glibc: header?.glibcVersionRuntime, node: process.version };
}

/** Files tried, in order: an explicit path, the build of a checkout, the prebuilt binary of a release. */
export function addonCandidates(): string[] {
  const explicit = process.env.OUTRIDER_NATIVE_PATH;
  if (explicit) return [path.resolve(explicit)];
  return [
    path.join(packageRoot, "build", "Release", "outrider.node"),
    path.join(packageRoot, "prebuilds", `${process.platform}-${process.arch}`, "outrider.node"),
  ];
}

function isCheckout(): boolean {
  try {
    require.resolve(path.join(packageRoot, "native", "sources.json"));
    return true;
  } catch {
    return false;
  }
}

/** The command or fact that mends a failed load. */
function remedy(where: Platform, causes: string[], checkout: boolean): string {
  const needed = causes.join("\n").match(/GLIBC_([\d.]+)' not found/)?.[1];
  if (needed) return `glibc ${needed} or newer is needed, ${where.glibc ?? "none"} found: use a newer system image.`;
  if (checkout) return "Run: npm run build:native";
  if (where.platform !== "linux" || where.arch !== "x64") {
    return "This release carries linux-x64 only. On other platforms build from a checkout: npm install && npm run build:native";
  }
  if (!where.glibc)
    return "This release needs glibc 2.28 or newer; musl systems build from a checkout: npm run build:native";
  return "The package is incomplete. Run: npm install outrider --force";
}

let loadedFrom: string | undefined;

/** Absolute path of the loaded addon. */
export function addonPath(): string {
  return loadedFrom ?? "not loaded";
}

/**
 * Loads the addon from the first candidate that works.
 * @throws {OutriderError} OUTRIDER_ADDON, naming the machine, each path with its cause, and the command that fixes it.
 */
export function loadAddon(candidates = addonCandidates(), where = currentPlatform(), checkout = isCheckout()): unknown {
  const causes: string[] = [];
  for (const candidate of candidates) {
    try {
      const addon: unknown = require(candidate);
      loadedFrom = candidate;
      return addon;
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      causes.push(
        `  ${candidate}: ${(error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND" ? "no such file" : reason}`,
      );
    }
  }
  const libc = where.glibc ? `glibc ${where.glibc}` : "no glibc";
  throw new OutriderError(
    "OUTRIDER_ADDON",
    [
      `Cannot load outrider's native addon on ${where.platform}-${where.arch}, ${libc}, Node ${where.node}.`,
      ...causes,
      remedy(where, causes, checkout),
    ].join("\n"),
  );
}
