// What a target of hostile input is.
import { errorCodes, OutriderError } from "../../lib/index.ts";
import type { Random } from "./mutate.ts";

/** One kind of input. `once` resolves to whether the mutation was accepted; anything but an OutriderError is a bug. */
export interface Target {
  once(next: Random): Promise<boolean>;
  close(): Promise<void>;
}

/** Runs `use`; false if it is refused in the way that is promised. */
export async function accepted(use: () => Promise<unknown>): Promise<boolean> {
  try {
    await use();
    return true;
  } catch (error) {
    const known = error instanceof OutriderError && Object.hasOwn(errorCodes, error.code);
    if (!known || error.code === "OUTRIDER_INTERNAL" || error.message.length > 4096) throw error;
    return false;
  }
}
