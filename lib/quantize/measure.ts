// What a quantised model has lost, on text that its training has not seen.

import { load } from "../generate/open.ts";
import { type Comparison, compareWindows } from "./compare.ts";
import type { ResolvedQuantize } from "./options.ts";

/** The folder that was made against its source, both in float arithmetic. Undefined without any text. */
export async function measureLoss(
  source: string | undefined,
  windows: readonly Int32Array[],
  { out, window, threads, signal, onProgress }: ResolvedQuantize,
): Promise<Comparison | undefined> {
  if (windows.length === 0) return undefined;
  const report = (done: number) => onProgress?.({ phase: "measurement", done, total: windows.length });
  report(0);
  const options = { threads, signal, contextLength: window, activation: "float" } as const;
  await using original = await load(source, options);
  await using made = await load(out, options);
  return await compareWindows(original, made, windows, { signal, onProgress: ({ done }) => report(done) });
}
