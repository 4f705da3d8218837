import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { resolveHub } from "../../../lib/load/hub.ts";
import { code } from "../../support/errors.ts";

// A stand-in for the hub on the loopback interface: file listing and downloads of one repository.
const commit = "0123456789abcdef0123456789abcdef01234567";
const folderFiles: Record<string, Buffer> = {
  "config.json": Buffer.from('{"model_type":"llama"}'),
  "tokenizer.json": Buffer.from("{}"),
  "model.safetensors": Buffer.alloc(200_000, 7),
  "README.md": Buffer.from("not wanted"),
};
let files = folderFiles;
let server: Server;
let cache: string;
let downloads: string[];
let breakAfter: number | undefined;
/** Takes over the answers that carry the weights: which one it is, from 0 on, and what it should say. */
let sendWeights: ((nth: number, response: ServerResponse, data: Buffer) => void) | undefined;

beforeEach(async () => {
  files = folderFiles;
  downloads = [];
  sendWeights = undefined;
  breakAfter = undefined;
  cache = mkdtempSync(path.join(os.tmpdir(), "outrider-hub-"));
  server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://localhost");
    if (/^\/api\/models\/owner\/model(\/revision\/main)?$/.test(url.pathname)) {
      const about = {
        _id: "1",
        id: "owner/model",
        sha: commit,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: "2026-01-01",
      };
      response.setHeader("content-type", "application/json").end(JSON.stringify(about));
      return;
    }
    if (url.pathname.startsWith("/api/models/owner/model/tree/")) {
      const list = Object.entries(files).map(([name, data]) => ({
        type: "file",
        path: name,
        size: data.length,
        oid: createHash("sha1").update(data).digest("hex"),
        ...(name.endsWith(".safetensors") && {
          lfs: { oid: createHash("sha256").update(data).digest("hex"), size: data.length, pointerSize: 130 },
        }),
      }));
      response.setHeader("content-type", "application/json").end(JSON.stringify(list));
      return;
    }
    const name = /^\/owner\/model\/(?:resolve|raw)\/[^/]+\/(.+)$/.exec(url.pathname)?.[1];
    const data = name === undefined ? undefined : files[name];
    if (!data || name === undefined) {
      response.writeHead(404, { "content-type": "application/json" }).end('{"error":"Repository not found"}');
      return;
    }
    response.setHeader("etag", `"${createHash("sha1").update(data).digest("hex")}"`);
    response.setHeader("x-repo-commit", commit);
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const part = range ? data.subarray(Number(range[1]), Number(range[2]) + 1) : data;
    if (range)
      response.setHeader("content-range", `bytes ${range[1]}-${Number(range[1]) + part.length - 1}/${data.length}`);
    const taken = sendWeights && name === "model.safetensors" && part.length > 1 && request.method !== "HEAD";
    response.writeHead(range ? 206 : 200, taken ? {} : { "content-length": part.length });
    if (part.length > 1) downloads.push(name);
    if (taken) {
      sendWeights?.(downloads.filter((other) => other === name).length - 1, response, part);
      return;
    }
    if (breakAfter !== undefined && part.length > breakAfter) {
      response.write(part.subarray(0, breakAfter), () => response.destroy());
      return;
    }
    response.end(request.method === "HEAD" ? undefined : part);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.env.HF_ENDPOINT = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  process.env.HF_HUB_CACHE = cache;
  delete process.env.HF_HUB_OFFLINE;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(cache, { recursive: true });
  for (const name of ["HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]) delete process.env[name];
});

test("downloads what a model needs, then serves it from the cache, also offline", async () => {
  const progress: number[] = [];
  const folder = await resolveHub("owner/model", { onProgress: ({ loaded }) => progress.push(loaded) });
  expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
  expect(readFileSync(path.join(folder, "model.safetensors")).equals(files["model.safetensors"])).toBe(true);
  expect(progress.at(-1)).toBe(
    files["config.json"].length + files["tokenizer.json"].length + files["model.safetensors"].length,
  );
  downloads = [];
  expect(await resolveHub("owner/model")).toBe(folder);
  expect(downloads.filter((name) => name === "model.safetensors")).toEqual([]);
  process.env.HF_HUB_OFFLINE = "1";
  server.closeAllConnections();
  expect(await resolveHub("owner/model")).toBe(folder);
});

test("a repository of one GGUF file is found by its short name offline and when the hub is gone", async () => {
  files = { "tiny.gguf": Buffer.alloc(5000, 3), "README.md": Buffer.from("not wanted") };
  process.env.HF_HUB_OFFLINE = "1";
  await expect(resolveHub("owner/model")).rejects.toMatchObject({ code: "OUTRIDER_NOT_FOUND" });
  delete process.env.HF_HUB_OFFLINE;
  const file = await resolveHub("owner/model");
  expect([path.basename(file), readFileSync(file).length]).toEqual(["tiny.gguf", 5000]);
  process.env.HF_HUB_OFFLINE = "1";
  expect(await resolveHub("owner/model")).toBe(file);
  expect(await resolveHub("owner/model:tiny.gguf")).toBe(file);
  delete process.env.HF_HUB_OFFLINE;
  process.env.HF_ENDPOINT = "http://127.0.0.1:1";
  expect(await resolveHub("owner/model")).toBe(file);
});

test("an interrupted download leaves nothing under the file's name, and a retry completes it", async () => {
  breakAfter = 50_000;
  await expect(resolveHub("owner/model")).rejects.toMatchObject({ code: "OUTRIDER_NETWORK" });
  const snapshot = path.join(cache, "models--owner--model", "snapshots", commit, "model.safetensors");
  expect(existsSync(snapshot)).toBe(false);
  breakAfter = undefined;
  const folder = await resolveHub("owner/model");
  expect(readFileSync(path.join(folder, "model.safetensors")).equals(files["model.safetensors"])).toBe(true);
});

test.each([
  ["of another content", Buffer.alloc(200_000, 8)],
  ["that are fewer", Buffer.alloc(199_999, 7)],
  ["that are more", Buffer.alloc(200_001, 7)],
])("bytes %s than the hub lists are refused", async (_, bytes) => {
  sendWeights = (_nth, response) => response.end(bytes);
  await expect(resolveHub("owner/model")).rejects.toEqual(code("OUTRIDER_NETWORK", /damaged/));
  expect(readdirSync(path.join(cache, "models--owner--model", "blobs")).length).toBe(2);
});

test("says what is wrong: unknown repository, unsafe id, offline without cache, abort", async () => {
  await expect(resolveHub("owner/other")).rejects.toMatchObject({ code: "OUTRIDER_NOT_FOUND" });
  await expect(resolveHub("../etc/passwd")).rejects.toMatchObject({ code: "OUTRIDER_ARGUMENT" });
  await expect(resolveHub("owner/model", { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
  process.env.HF_HUB_OFFLINE = "1";
  await expect(resolveHub("owner/absent")).rejects.toMatchObject({
    code: "OUTRIDER_NOT_FOUND",
    message: expect.stringContaining(cache),
  });
});

describe("two downloads of one model at once", () => {
  const weights = files["model.safetensors"];
  const half = weights.length / 2;
  const blobs = () => path.join(cache, "models--owner--model", "blobs");
  const unfinished = () => readdirSync(blobs()).filter((name) => name.endsWith(".incomplete"));
  const stored = (folder: string) => readFileSync(path.join(folder, "model.safetensors"));
  const total = files["config.json"].length + files["tokenizer.json"].length + files["model.safetensors"].length;

  /** Sends half of the weights, tells the test, and the other half when the test says so. */
  function pauseFirst(rest?: (nth: number, response: ServerResponse, data: Buffer) => void) {
    let resume = () => {};
    const paused = new Promise<void>((resolve) => {
      sendWeights = (nth, response, data) => {
        if (nth > 0) return rest ? rest(nth, response, data) : response.end(data);
        response.write(data.subarray(0, half), () => resolve());
        resume = () => response.end(data.subarray(half));
      };
    });
    return { paused, resume: () => resume() };
  }

  /** The module as another thread of this process has it: the process id is the same, nothing else is shared. */
  async function otherThread(): Promise<typeof resolveHub> {
    vi.resetModules();
    return (await import("../../../lib/load/hub.ts")).resolveHub;
  }

  test("of two threads, one that fails takes nothing away from the other", async () => {
    const { paused, resume } = pauseFirst((_, response, data) =>
      response.write(data.subarray(0, half / 2), () => response.destroy()),
    );
    const first = resolveHub("owner/model");
    await paused;
    const other = await otherThread();
    await expect(other("owner/model")).rejects.toEqual(code("OUTRIDER_NETWORK"));
    resume();
    expect(stored(await first).equals(weights)).toBe(true);
    expect(unfinished()).toEqual([]);
  });

  test("of two threads, both end with whole files", async () => {
    const { paused, resume } = pauseFirst();
    const first = resolveHub("owner/model");
    await paused;
    const second = await (await otherThread())("owner/model");
    expect(stored(second).equals(weights)).toBe(true);
    resume();
    expect(stored(await first).equals(weights)).toBe(true);
    expect(unfinished()).toEqual([]);
  });

  test("in one thread, the bytes come once and both are told of all of them", async () => {
    const { paused, resume } = pauseFirst();
    const progress: number[][] = [[], []];
    const both = progress.map((list) => resolveHub("owner/model", { onProgress: ({ loaded }) => list.push(loaded) }));
    await paused;
    await new Promise((resolve) => setTimeout(resolve, 100));
    resume();
    const [first, second] = await Promise.all(both);
    expect(second).toBe(first);
    expect(stored(first).equals(weights)).toBe(true);
    expect(downloads.filter((name) => name === "model.safetensors").length).toBe(1);
    expect(progress.map((list) => list.at(-1))).toEqual([total, total]);
  });

  test("in one thread, each can be aborted alone", async () => {
    const { paused, resume } = pauseFirst();
    const [one, two] = [new AbortController(), new AbortController()];
    const first = resolveHub("owner/model", { signal: one.signal });
    await paused;
    const second = resolveHub("owner/model", { signal: two.signal });
    const third = resolveHub("owner/model");
    two.abort(new Error("the second had enough"));
    await expect(second).rejects.toThrow("the second had enough");
    one.abort(new Error("the first had enough"));
    await expect(first).rejects.toThrow("the first had enough");
    resume();
    expect(stored(await third).equals(weights)).toBe(true);
    expect(unfinished()).toEqual([]);
  });

  test("what is not in the file as it was sent is not taken for the model", async () => {
    const { paused, resume } = pauseFirst();
    const first = resolveHub("owner/model");
    await paused;
    await vi.waitFor(() => expect(readFileSync(path.join(blobs(), unfinished()[0])).length).toBe(half));
    writeFileSync(path.join(blobs(), unfinished()[0]), Buffer.alloc(half, 8));
    resume();
    await expect(first).rejects.toEqual(code("OUTRIDER_IO", /Expected 200000 bytes with SHA-256 .* received/));
    expect(unfinished()).toEqual([]);
    expect(readdirSync(path.join(cache, "models--owner--model", "snapshots", commit))).not.toContain(
      "model.safetensors",
    );
  });

  test("what dead processes left behind is removed, what others write is not", async () => {
    mkdirSync(blobs(), { recursive: true });
    const oid = "a".repeat(64);
    const old = [`${oid}.0123456789abcdef.incomplete`, `${oid}.4711.incomplete`];
    const kept = [`${oid}.fedcba9876543210.incomplete`, `${oid}.incomplete`];
    for (const name of [...old, ...kept]) writeFileSync(path.join(blobs(), name), "half");
    const yesterday = new Date(Date.now() - 86_400_000);
    for (const name of [...old, `${oid}.incomplete`]) utimesSync(path.join(blobs(), name), yesterday, yesterday);
    await resolveHub("owner/model");
    expect(unfinished().sort()).toEqual(kept.sort());
  });
});
