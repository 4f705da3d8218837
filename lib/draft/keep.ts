// What drafters learn about a model, kept in a folder from one process to the next: a checksummed file for each drafter and model.

import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { badArgument, OutriderError } from "../errors.ts";
import type { DraftContext } from "./drafter.ts";

const magic = "outrider-drafts-1\n";
const digestBytes = 32;
const mostBytes = 2 ** 30;
/** Milliseconds after which what was learnt is written. */
const writeAfter = 2000;

/** What a drafter says of one model, as integers. */
export interface Learnt {
  /** All of it. */
  toInts(): Int32Array;
  /** Takes over what an earlier process said. False: it is not what toInts() gives. */
  fromInts(ints: Int32Array): boolean;
}

/** @throws {OutriderError} OUTRIDER_ARGUMENT */
export function checkFolder(folder: unknown, name = "folder"): void {
  if (folder !== undefined && (typeof folder !== "string" || folder === ""))
    throw badArgument(name, "the path of a folder", folder);
}

/** Bytes of a file: a line that says what it is, a digest of everything else, integers. */
function fileBytes(title: string, ints: Int32Array): Buffer {
  const head = Buffer.from(`${magic}${title}\n`, "utf8");
  const body = Buffer.from(ints.buffer, ints.byteOffset, ints.byteLength);
  const digest = createHash("sha256").update(head).update(body).digest();
  return Buffer.concat([head, digest, body]);
}

/** The integers of a file of this title; undefined if it is damaged or another's. */
function readInts(title: string, bytes: Buffer): Int32Array | undefined {
  const head = Buffer.from(`${magic}${title}\n`, "utf8");
  if (!bytes.subarray(0, head.length).equals(head) || (bytes.length - head.length - digestBytes) % 4 !== 0)
    return undefined;
  const body = bytes.subarray(head.length + digestBytes);
  const digest = createHash("sha256").update(head).update(body).digest();
  if (
    bytes.length < head.length + digestBytes ||
    !digest.equals(bytes.subarray(head.length, head.length + digestBytes))
  )
    return undefined;
  return new Int32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.length));
}

/** Bytes of a file, if there is one. @throws what reading throws: a file that cannot be read must not be replaced */
async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    const about = await stat(file);
    if (!about.isFile() || about.size > mostBytes) return undefined;
    return await readFile(file);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw new OutriderError("OUTRIDER_IO", `Cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Keeps what one drafter learns in a folder, for every model that it works for. */
export class Keep<T extends Learnt> {
  readonly #folder: string | undefined;
  readonly #name: string;
  readonly #make: (context: DraftContext) => T;
  readonly #known = new WeakMap<DraftContext, T>();
  readonly #unwritten = new Map<DraftContext, T>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  /**
   * @param folder undefined: nothing outlives the process
   * @param name of the drafter, with what its options mean for what it learns
   * @param make something that knows nothing
   */
  constructor(folder: string | undefined, name: string, make: (context: DraftContext) => T) {
    this.#folder = folder;
    this.#name = name;
    this.#make = make;
  }

  /** What is known about a model. */
  of(context: DraftContext): T {
    const known = this.#known.get(context) ?? this.#make(context);
    this.#known.set(context, known);
    return known;
  }

  #file(context: DraftContext): string {
    return path.join(this.#folder as string, `${this.#name}-${context.fingerprint}.drafts`);
  }

  #title(context: DraftContext): string {
    return `${this.#name} ${context.fingerprint} ${context.vocab}`;
  }

  /** Reads what an earlier process has learnt. A file that is damaged counts as none and is written anew. */
  async read(context: DraftContext): Promise<void> {
    if (this.#folder === undefined || this.#known.has(context)) return;
    const bytes = await readIfThere(this.#file(context));
    if (this.#known.has(context)) return; // another text was faster
    const fresh = this.#make(context);
    const ints = bytes && readInts(this.#title(context), bytes);
    this.#known.set(context, ints && fresh.fromInts(ints) ? fresh : this.#make(context));
  }

  /** Something was learnt: it is written soon. */
  changed(context: DraftContext): void {
    if (this.#folder === undefined) return;
    this.#unwritten.set(context, this.of(context));
    this.#timer ??= setTimeout(() => void this.trySave(), writeAfter).unref();
  }

  /** Writes what was learnt since the last time; a failure is a warning. */
  async trySave(): Promise<void> {
    await this.save().catch((error: unknown) =>
      process.emitWarning(`Cannot keep drafts in ${this.#folder}: ${(error as Error).message}`, "OutriderWarning"),
    );
  }

  /** Writes what was learnt since the last time, to a temporary file first. */
  save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const all = [...this.#unwritten];
    this.#unwritten.clear();
    const write = async () => {
      for (const [context, learnt] of all) {
        await this.#write(context, learnt).catch((error: unknown) => {
          this.#unwritten.set(context, learnt); // with what is learnt next
          throw error;
        });
      }
    };
    this.#writing = this.#writing.catch(() => {}).then(write);
    return this.#writing;
  }

  async #write(context: DraftContext, learnt: T): Promise<void> {
    await mkdir(this.#folder as string, { recursive: true });
    const file = this.#file(context);
    const temporary = `${file}.${randomBytes(6).toString("hex")}.tmp`;
    try {
      const handle = await open(temporary, "wx");
      try {
        await handle.writeFile(fileBytes(this.#title(context), learnt.toInts()));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}
