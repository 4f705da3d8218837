// What a quantised model has lost, on text that its training has not seen.

import { load } from "../generate/open.ts";
import { type Comparison, compareWindows } from "./compare.ts";
import type { ResolvedQuantize } from "./options.ts";

/** Tokens of a window that are looked at: logits of both models are held for all of them. */
const most = 512;

/** The folder that was made against its source, both in float arithmetic. Undefined without any text. */
export async function measureLoss(
  source: string | undefined,
  windows: readonly Int32Array[],
  { out, window, threads, signal, onProgress }: ResolvedQuantize,
): Promise<Comparison | undefined> {
  if (windows.length === 0) return undefined;
  const parts = windows.map((ids) => ids.subarray(0, most));
  const report = (done: number) => onProgress?.({ phase: "measurement", done, total: windows.length });
  report(0);
  const options = { threads, signal, contextLength: Math.min(window, most), activation: "float" } as const;
  await using original = await load(source, options);
  await using made = await load(out, options);
  return await compareWindows(original, made, parts, { signal, onProgress: ({ done }) => report(done) });
}
