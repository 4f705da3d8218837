// The path of the tiny model, as ../tiny.ts has it.
import { fileURLToPath } from "node:url";

export const tinyModel = fileURLToPath(new URL("../../../models/default", import.meta.url));
