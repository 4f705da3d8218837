// What streams return: pieces, and what came of them.

import type { Generation, Piece } from "./generation.ts";

/** Pieces of a text that is being generated. */
export interface TextStream extends AsyncGenerator<Piece, void, undefined> {
  /** What {@link Model.generate} would have given, statistics included, once the loop has come to the end; undefined before that. */
  readonly result: Generation | undefined;
}

/** @param make pieces, and calls `finish` behind the last one */
export function textStream(
  make: (finish: (result: Generation) => void) => AsyncGenerator<Piece, void, undefined>,
): TextStream {
  let result: Generation | undefined;
  const pieces = make((whole) => {
    result = whole;
  });
  return Object.defineProperty(pieces, "result", { get: () => result, enumerable: true }) as TextStream;
}
