// What drafting has learnt about a model on this machine, from one process to the next.

import { createHash } from "node:crypto";
import { cpus } from "node:os";
import type { DraftContext } from "../draft/drafter.ts";
import { Experience } from "../draft/experience.ts";
import { Keep } from "../draft/keep.ts";
import type { RuntimeOptions } from "../model/runtime.ts";
import { native } from "../native.ts";

/** Costs are those of one processor, level, number of threads and way to compute. */
function machineKey({ threads, rounded, kv, level }: RuntimeOptions): string {
  const about = [cpus()[0]?.model, level ?? native.cpu().level, threads, rounded, kv];
  return createHash("sha256").update(JSON.stringify(about)).digest("hex").slice(0, 12);
}

/**
 * Experience that an earlier process has left in `folder`, or none yet; what texts add to it is written two seconds after they end and by `save`.
 * @param folder undefined: nothing outlives the process
 * @throws {OutriderError} OUTRIDER_IO if there is a file that cannot be read
 */
export async function keptExperience(
  folder: string | undefined,
  context: DraftContext,
  options: RuntimeOptions,
): Promise<Experience> {
  if (folder === undefined) return new Experience();
  const keep = new Keep(folder, `policy-${machineKey(options)}`, () => new Experience());
  await keep.read(context);
  const experience = keep.of(context);
  experience.keeper = { changed: () => keep.changed(context), save: () => keep.trySave() };
  return experience;
}
