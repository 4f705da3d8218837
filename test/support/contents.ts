// Folders, compared byte for byte.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/** Everything that a folder holds, in hexadecimal. */
export const contents = (at: string) =>
  Object.fromEntries(readdirSync(at).map((name) => [name, readFileSync(path.join(at, name), "hex")]));
