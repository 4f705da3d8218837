// Once before all suites: dist/ as the sources are, for the suites that run the built package.
import { execFileSync } from "node:child_process";
import path from "node:path";

export default function setup(): void {
  const root = path.resolve(import.meta.dirname, "../..");
  execFileSync(process.execPath, ["scripts/build-ts.mjs"], { cwd: root, stdio: "inherit" });
}
