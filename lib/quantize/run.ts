// A quantisation in its folder: what is finished, so that a run that was ended goes on behind it.

import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { badArgument, OutriderError } from "../errors.ts";
import { readSafetensors } from "../load/safetensors.ts";
import type { QuantizedMatrix } from "../native.ts";
import type { MatrixShape } from "./plan.ts";
import { type StoredTensor, writeSafetensors, writeText } from "./safetensors-writer.ts";
import { matrixTensors, parts } from "./tensors.ts";

const workFolder = ".quantize";

/** Whatever was written about a block. */
export interface FinishedBlock<Report> {
  /** Of q, k, v, o, gate, up, down. */
  matrices: (MatrixShape & Pick<QuantizedMatrix, "codes" | "scale" | "zero">)[];
  /** Attention, MLP, queries, keys; of a trained block. */
  norms?: Float32Array[];
  report: Report;
}

const exists = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  );

/** A setting as JSON has it, in full: paths and lists are what differs. */
const show = (setting: unknown) => JSON.stringify(setting) ?? "none";

/** A run in `out`, finished piece by piece. */
export class Run {
  readonly #out: string;
  readonly #work: string;

  constructor(out: string) {
    this.#out = out;
    this.#work = path.join(out, workFolder);
  }

  /** The file of a piece that other pieces are joined with. */
  piece(name: string): string {
    return path.join(this.#work, `${name}.safetensors`);
  }

  has(name: string): Promise<boolean> {
    return exists(this.piece(name));
  }

  /** Refuses a folder that begin() would refuse whatever the settings. */
  async check(resume: boolean): Promise<void> {
    const out = this.#out;
    const found = await readdir(out).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw badArgument("out", "a folder", out);
    });
    if (found.length === 0) return;
    if (!(await exists(path.join(this.#work, "run.json"))))
      throw badArgument("out", "a folder that is empty or holds an unfinished run", out);
    if (!resume) throw badArgument("resume", "true for a folder with an unfinished run", resume);
  }

  /**
   * Makes the folder, or finds the unfinished run with the same settings in it.
   * @param settings whatever the result depends on, by name
   * @throws {OutriderError} OUTRIDER_ARGUMENT with the first setting that an unfinished run had otherwise.
   */
  async begin(settings: Readonly<Record<string, unknown>>, resume: boolean): Promise<void> {
    const out = this.#out;
    await this.check(resume);
    const before = await this.read<Record<string, unknown> | null>("run");
    if (before !== undefined) {
      for (const [name, value] of Object.entries(settings)) {
        const earlier = before?.[name];
        if (isDeepStrictEqual(earlier, value)) continue;
        const had = name === "model" ? "the model" : `${name}: ${show(earlier)}`;
        const now = name === "model" ? "one with other contents" : show(value);
        const text = `Expected ${had} of the unfinished run in ${out} for resume, received ${now}`;
        throw new OutriderError("OUTRIDER_ARGUMENT", text);
      }
      // What a killed run was writing.
      for (const name of await readdir(out)) if (name.endsWith(".tmp")) await rm(path.join(out, name), { force: true });
      return;
    }
    try {
      await mkdir(this.#work, { recursive: true });
    } catch (error) {
      throw new OutriderError("OUTRIDER_IO", `Cannot make ${this.#work}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    await this.write("run", settings);
  }

  /** JSON that an earlier run left under this name. */
  async read<T>(name: string): Promise<T | undefined> {
    const file = path.join(this.#work, `${name}.json`);
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new OutriderError("OUTRIDER_FORMAT", `Expected JSON in ${file}, which an earlier run wrote: ${error}`);
    }
  }

  async write(name: string, value: unknown): Promise<void> {
    await writeText(path.join(this.#work, `${name}.json`), `${JSON.stringify(value)}\n`);
  }

  async #tensors(name: string) {
    const file = this.piece(name);
    const { tensors, metadata } = await readSafetensors(file);
    const content = await readFile(file);
    const bytes = (tensor: string) => {
      const entry = tensors.get(tensor);
      if (!entry) throw new OutriderError("OUTRIDER_FORMAT", `Expected ${tensor} in ${file}`);
      return Uint8Array.from(content.subarray(entry.offset, entry.offset + entry.byteLength));
    };
    return { tensors, metadata, bytes };
  }

  async writeBlock<Report>(name: string, { matrices, norms, report }: FinishedBlock<Report>): Promise<void> {
    const held = (norms ?? []).flatMap((data, i): StoredTensor[] =>
      data.length > 0 ? [{ name: `norm.${i}`, dtype: "F32", shape: [data.length], data }] : [],
    );
    const codes = parts.flatMap((part, i) => matrixTensors(part, [matrices[i]]));
    await writeSafetensors(this.piece(name), [...codes, ...held], { report: JSON.stringify(report) });
  }

  /** A finished block; undefined for one that is not. */
  async block<Report>(name: string, shapes: readonly MatrixShape[]): Promise<FinishedBlock<Report> | undefined> {
    if (!(await this.has(name))) return undefined;
    const { tensors, metadata, bytes } = await this.#tensors(name);
    const matrices = parts.map((part, i) => ({
      ...shapes[i],
      codes: bytes(`${part}.codes`),
      scale: new Uint16Array(bytes(`${part}.scale`).buffer),
      zero: new Uint16Array(bytes(`${part}.zero`).buffer),
    }));
    const norm = (i: number) => (tensors.has(`norm.${i}`) ? new Float32Array(bytes(`norm.${i}`).buffer) : undefined);
    const norms = tensors.has("norm.0") ? [0, 1, 2, 3].map((i) => norm(i) ?? new Float32Array()) : undefined;
    return { matrices, norms, report: JSON.parse(metadata.report) };
  }

  async writeState<Progress>(name: string, state: Float32Array, progress: Progress): Promise<void> {
    const tensor: StoredTensor = { name: "state", dtype: "F32", shape: [state.length], data: state };
    await writeSafetensors(this.piece(name), [tensor], { progress: JSON.stringify(progress) });
  }

  async state<Progress>(name: string): Promise<{ state: Float32Array; progress: Progress } | undefined> {
    if (!(await this.has(name))) return undefined;
    const { metadata, bytes } = await this.#tensors(name);
    return { state: new Float32Array(bytes("state").buffer), progress: JSON.parse(metadata.progress) };
  }

  async end(): Promise<void> {
    await rm(this.#work, { recursive: true, force: true });
  }
}
