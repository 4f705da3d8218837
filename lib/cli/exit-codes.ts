// How the command line ends.

/** Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
export const exitCode = { failed: 1, usage: 2, interrupted: 130 } as const;
