// What can still be said where the native addon does not load. Imports nothing that would load it.

/** The error of a failed load, as its properties show it: its class is out of reach here. */
interface AddonFailure extends Error {
  code: "OUTRIDER_ADDON";
  details: {
    platform: string;
    glibc: string | undefined;
    node: string;
    tried: { path: string; cause: string }[];
    remedy: string;
  };
}

export function isAddonFailure(error: unknown): error is AddonFailure {
  return error instanceof Error && (error as AddonFailure).code === "OUTRIDER_ADDON" && "details" in error;
}

function diagnose({ details }: AddonFailure, json: boolean): void {
  const { platform, glibc, node, tried, remedy } = details;
  if (json) {
    process.stdout.write(`${JSON.stringify({ platform, glibc, node, addon: null, tried, remedy })}\n`);
    return;
  }
  const rows: [string, string][] = [
    ["platform", `${platform}, glibc ${glibc ?? "none"}, Node ${node}`],
    ["addon", "cannot be loaded"],
    ...tried.map(({ path, cause }): [string, string] => ["tried", `${path}: ${cause}`]),
    ["remedy", remedy],
  ];
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(14)} ${value}\n`);
}

/** Prints one line, the whole error with --verbose, or what `outrider doctor` was asked for. */
export function reportAddonFailure(error: AddonFailure, args: readonly string[]): void {
  const command = args.find((arg) => !arg.startsWith("-"));
  if (command === "doctor") diagnose(error, args.includes("--json"));
  const text = args.includes("--verbose") ? error.stack : error.message.replace(/\.?\s*\n\s*/g, "; ");
  process.stderr.write(`outrider: ${text} [${error.code}]\n`);
}
