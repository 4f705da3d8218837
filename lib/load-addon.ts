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
function remedy(where: Platform, causes: string[], checkout: boolean, explicit: string | undefined): string {
  if (explicit)
    return `Unset OUTRIDER_NATIVE_PATH, which is ${JSON.stringify(explicit)}, or set it to an outrider.node of this machine`;
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

/** Why no addon could be loaded: the property `details` of the error, for programs that report it. */
export interface AddonFailure {
  platform: string;
  glibc: string | undefined;
  node: string;
  tried: { path: string; cause: string }[];
  remedy: string;
}

/**
 * Loads the addon from the first candidate that works.
 * @param explicit value of OUTRIDER_NATIVE_PATH that the candidates come from, if it is set
 * @throws {OutriderError} OUTRIDER_ADDON, naming the machine, each path with its cause, and the command that fixes it; with
 *   {@link AddonFailure} as `details`.
 */
export function loadAddon(
  candidates = addonCandidates(),
  where = currentPlatform(),
  checkout = isCheckout(),
  explicit = process.env.OUTRIDER_NATIVE_PATH,
): unknown {
  const tried: AddonFailure["tried"] = [];
  for (const candidate of candidates) {
    try {
      const addon: unknown = require(candidate);
      loadedFrom = candidate;
      return addon;
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      const absent = (error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND";
      tried.push({ path: candidate, cause: absent ? "no such file" : reason });
    }
  }
  const { glibc, node } = where;
  const platform = `${where.platform}-${where.arch}`;
  const causes = tried.map(({ path: file, cause }) => `  ${file}: ${cause}`);
  const fix = remedy(where, causes, checkout, explicit);
  const details: AddonFailure = { platform, glibc, node, tried, remedy: fix };
  const machine = `${platform}, ${glibc ? `glibc ${glibc}` : "no glibc"}, Node ${node}`;
  const lines = [`Cannot load outrider's native addon on ${machine}.`, ...causes, fix];
  throw Object.assign(new OutriderError("OUTRIDER_ADDON", lines.join("\n")), { details });
}
