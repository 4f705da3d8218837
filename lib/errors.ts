/** Every error outrider throws on purpose is an {@link OutriderError} with one of these stable codes. */
export const errorCodes = {
  OUTRIDER_ARGUMENT: "an argument has the wrong type or value",
  OUTRIDER_SHAPE: "a tensor has the wrong rank, dimension, dtype or layout",
  OUTRIDER_DISPOSED: "the object was disposed, or its buffer was detached",
  OUTRIDER_BUSY: "the object is in use by a call that has not finished",
  OUTRIDER_FORMAT: "a file is damaged or is not what its name says",
  OUTRIDER_UNSUPPORTED: "a file or option asks for something outrider does not do",
  OUTRIDER_NOT_FOUND: "a file, folder or hub repository does not exist",
  OUTRIDER_IO: "the operating system refused to read or write a file, or to start a thread",
  OUTRIDER_NETWORK: "a download failed",
  OUTRIDER_CONTEXT: "the tokens do not fit the context length",
  OUTRIDER_MEMORY: "memory could not be allocated",
  OUTRIDER_SNAPSHOT: "a KV snapshot is damaged or belongs to another model",
  OUTRIDER_ADDON: "the native addon could not be loaded",
  OUTRIDER_INTERNAL: "outrider broke one of its own invariants; please report it",
} as const;

/** Stable error code; the meaning of each is in {@link errorCodes}. */
export type ErrorCode = keyof typeof errorCodes;

/** The one error class of outrider: a stable `code` beside a message of the form "Expected X for Y, received Z". */
export class OutriderError extends Error {
  override readonly name = "OutriderError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Short, safe rendering of a hostile value for an error message. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number" || typeof value === "boolean" || value === undefined) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object") return `a ${value.constructor?.name || "object"}`;
  return `a ${typeof value}`;
}

/** An error that reads "Expected `expected` for `name`, received `actual`"; `actual` is rendered with {@link describe}. */
export function expected(
  code: ErrorCode,
  name: string,
  what: string,
  actual: unknown,
  options?: ErrorOptions,
): OutriderError {
  return new OutriderError(code, `Expected ${what} for ${name}, received ${describe(actual)}`, options);
}

/** Shorthand for the commonest case: a bad argument. */
export function badArgument(name: string, what: string, actual: unknown): OutriderError {
  return expected("OUTRIDER_ARGUMENT", name, what, actual);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `threads` is an integer from 1 to 256, the most that outrider uses. */
export function checkThreads(threads: number): void {
  if (!Number.isInteger(threads) || threads < 1 || threads > 256)
    throw badArgument("threads", "an integer from 1 to 256", threads);
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT unless `options` is an object of known members. */
export function checkOptions(options: unknown, known: readonly string[], name = "options"): void {
  if (typeof options !== "object" || options === null) throw badArgument(name, "an object", options);
  for (const key of Object.keys(options))
    if (!known.includes(key)) throw badArgument(name, `only ${known.join(", ")}`, key);
}
