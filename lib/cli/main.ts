#!/usr/bin/env node
// The way in: Ctrl-C and a missing addon are dealt with here, before anything that needs the addon is imported.

import { isAddonFailure, reportAddonFailure } from "./addon-failure.ts";
import { exitCode } from "./exit-codes.ts";
import { handleInterrupts } from "./interrupt.ts";

handleInterrupts();
try {
  const { run } = await import("./program.ts");
  await run();
} catch (error) {
  if (!isAddonFailure(error)) throw error;
  reportAddonFailure(error, process.argv.slice(2));
  process.exitCode = exitCode.failed;
}
