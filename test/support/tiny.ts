// The tiny model: what tests run that need a model and no particular one.
import path from "node:path";

export const tinyModel = path.resolve(import.meta.dirname, "../fixtures/tiny");
