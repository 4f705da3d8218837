// What tests expect of outrider's errors.
import { expect } from "vitest";

/** Matches an OutriderError with this code, and with a message if one is named. */
export const code = (expected: string, message?: RegExp) =>
  expect.objectContaining({
    name: "OutriderError",
    code: expected,
    ...(message && { message: expect.stringMatching(message) }),
  });
