// The path of the tiny model, as ../tiny.ts has it.
import { fileURLToPath } from "node:url";

export const tinyModel = fileURLToPath(new URL("../../fixtures/tiny", import.meta.url));
