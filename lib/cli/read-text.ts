import { readFile } from "node:fs/promises";
import { OutriderError } from "../index.ts";

/** A text file that the user named. @throws {OutriderError} OUTRIDER_NOT_FOUND, OUTRIDER_IO */
export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      throw new OutriderError("OUTRIDER_NOT_FOUND", `Expected a text file at ${file}, found none`, { cause: error });
    throw new OutriderError("OUTRIDER_IO", `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}
