// Models by hub id, through the hub's own client and its shared cache.

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { downloadFile, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { describe, OutriderError } from "../errors.ts";
import { storeBlob } from "./hub-blob.ts";

/** Options of {@link resolveHub}. */
export interface HubOptions {
  /** Branch, tag or commit. @default "main" */
  revision?: string;
  signal?: AbortSignal;
  /** Called as bytes arrive; `loaded` and `total` count all files. */
  onProgress?: (progress: { file: string; loaded: number; total: number }) => void;
}

const wanted =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|model\.safetensors\.index)\.json$|^chat_template\.jinja$|^model(-\d+-of-\d+)?\.safetensors$/;

/** Where downloads are kept: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub. */
export function hubCache(): string {
  if (process.env.HF_HUB_CACHE) return process.env.HF_HUB_CACHE;
  const home =
    process.env.HF_HOME ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache"), "huggingface");
  return path.join(home, "hub");
}

function isOffline(): boolean {
  return ["1", "true", "yes", "on"].includes((process.env.HF_HUB_OFFLINE ?? "").toLowerCase());
}

function parseId(id: string): { repo: string; file?: string } {
  const match = /^([\w-][\w.-]*\/[\w-][\w.-]*?)(?::([\w-][\w.-]*\.gguf))?$/.exec(id);
  if (!match || id.includes("..")) {
    throw new OutriderError(
      "OUTRIDER_ARGUMENT",
      `Expected a hub id "owner/name" or "owner/name:file.gguf", received ${describe(id)}`,
    );
  }
  return { repo: match[1], file: match[2] };
}

/** The files to fetch of all that a repository has. */
function choose(id: string, file: string | undefined, names: string[]): string[] {
  if (file) return names.includes(file) ? [file] : [];
  const folder = names.filter((name) => wanted.test(name));
  if (folder.some((name) => name.endsWith(".safetensors"))) return folder;
  const gguf = names.filter((name) => name.endsWith(".gguf") && !name.includes("/"));
  if (gguf.length > 1) {
    throw new OutriderError("OUTRIDER_ARGUMENT", `Expected "${id}:FILE" with one of ${gguf.slice(0, 20).join(", ")}`);
  }
  return gguf;
}

function repositoryFolder(repo: string): string {
  return path.join(hubCache(), `models--${repo.replace("/", "--")}`);
}

/** A downloaded snapshot of a revision, from the cache alone. */
async function cached(repo: string, revision: string, file: string | undefined): Promise<string | undefined> {
  const folder = repositoryFolder(repo);
  const commit = await readFile(path.join(folder, "refs", revision), "utf8").catch(() => revision);
  const snapshot = path.join(folder, "snapshots", commit.trim());
  if (file) return existsSync(path.join(snapshot, file)) ? path.join(snapshot, file) : undefined;
  const names = choose(repo, undefined, await readdir(snapshot).catch(() => []));
  if (names.length === 1 && names[0].endsWith(".gguf")) return path.join(snapshot, names[0]);
  return names.includes("config.json") ? snapshot : undefined;
}

/** Puts one file into the cache: its bytes under blobs/OID, then a link in the snapshot. */
async function fetchFile(
  common: Parameters<typeof listFiles>[0],
  entry: ListFileEntry,
  snapshot: string,
  onBytes: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const link = path.join(snapshot, entry.path);
  if (existsSync(link)) return onBytes(entry.size);
  const oid = entry.lfs?.oid ?? entry.oid ?? "";
  if (!/^[0-9a-f]{40,64}$/.test(oid)) throw new Error(`the hub sent no usable object id for ${entry.path}`);
  const blob = path.join(snapshot, "../../blobs", oid);
  const open = async () => {
    const body = await downloadFile({ ...common, path: entry.path });
    if (!body) throw new Error(`the hub sent nothing for ${entry.path}`);
    return body;
  };
  const file = { name: entry.path, size: entry.size, sha256: entry.lfs ? oid : undefined, open };
  await storeBlob(blob, file, onBytes, signal);
  await symlink(path.relative(snapshot, blob), link).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
}

/** Remembers which commit a branch or tag was, for offline use. */
async function writeRef(repo: string, revision: string, commit: string): Promise<void> {
  if (revision === commit || !/^[\w.-]+$/.test(revision)) return;
  const refs = path.join(repositoryFolder(repo), "refs");
  await mkdir(refs, { recursive: true });
  const temporary = path.join(refs, `${revision}.${randomBytes(8).toString("hex")}.tmp`);
  try {
    await writeFile(temporary, commit, { flag: "wx" });
    await rename(temporary, path.join(refs, revision));
  } finally {
    await rm(temporary, { force: true });
  }
}

function networkError(id: string, error: unknown): OutriderError {
  if (error instanceof OutriderError) return error;
  const status = (error as { statusCode?: number }).statusCode;
  const message = error instanceof Error ? error.message : String(error);
  if (status === 404 || status === 401) {
    return new OutriderError(
      "OUTRIDER_NOT_FOUND",
      `Expected a public hub repository or a file of it at ${id}, or HF_TOKEN for a private one: ${message}`,
      { cause: error },
    );
  }
  return new OutriderError("OUTRIDER_NETWORK", `Cannot download ${id}: ${message}`, { cause: error });
}

/**
 * Finds a model of the hub in the local cache or downloads it there. Honours HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN and
 * HF_ENDPOINT. A file appears under its name only when it is complete.
 * @returns the snapshot folder, or the .gguf file.
 * @throws {OutriderError} OUTRIDER_ARGUMENT, OUTRIDER_NOT_FOUND or OUTRIDER_NETWORK; the signal's reason when aborted.
 */
export async function resolveHub(
  id: string,
  { revision = "main", signal, onProgress }: HubOptions = {},
): Promise<string> {
  const { repo, file } = parseId(id);
  if (isOffline()) {
    const found = await cached(repo, revision, file);
    if (found) return found;
    throw new OutriderError(
      "OUTRIDER_NOT_FOUND",
      `Expected ${id} in ${hubCache()}, as HF_HUB_OFFLINE is set; found none`,
    );
  }
  signal?.throwIfAborted();
  const access = {
    hubUrl: process.env.HF_ENDPOINT,
    accessToken: process.env.HF_TOKEN,
    fetch: ((input: string | URL, init?: RequestInit) => fetch(input, { ...init, signal })) as typeof fetch,
  };
  try {
    const { sha: commit } = await modelInfo({ name: repo, revision, additionalFields: ["sha"], ...access });
    if (!/^[0-9a-f]{40}$/.test(commit)) throw new Error("the hub sent no commit");
    const common = { repo, revision: commit, ...access };
    const entries = new Map<string, ListFileEntry>();
    for await (const entry of listFiles(common)) {
      // A name with a folder in it is never wanted, so none can leave the cache.
      if (entry.type === "file" && entry.path === path.basename(entry.path)) entries.set(entry.path, entry);
    }
    const names = choose(id, file, [...entries.keys()]);
    if (names.length === 0)
      throw new OutriderError(
        "OUTRIDER_NOT_FOUND",
        `Expected ${file ?? "safetensors or GGUF weights"} in ${repo}, found none`,
      );
    const snapshot = path.join(repositoryFolder(repo), "snapshots", commit);
    await mkdir(snapshot, { recursive: true });
    const chosen = names.map((name) => entries.get(name) as ListFileEntry);
    const total = chosen.reduce((sum, entry) => sum + entry.size, 0);
    let loaded = 0;
    for (const entry of chosen) {
      const onBytes = (bytes: number) => {
        loaded += bytes;
        onProgress?.({ file: entry.path, loaded, total });
      };
      await fetchFile(common, entry, snapshot, onBytes, signal);
    }
    await writeRef(repo, revision, commit);
    return names.length === 1 && names[0].endsWith(".gguf") ? path.join(snapshot, names[0]) : snapshot;
  } catch (error) {
    signal?.throwIfAborted();
    const found = error instanceof OutriderError ? undefined : await cached(repo, revision, file);
    if (found) return found; // the hub cannot be reached, but the model is here
    throw networkError(id, error);
  }
}
