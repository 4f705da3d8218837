import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { resolveHub } from "../../../lib/load/hub.ts";

// A stand-in for the hub on the loopback interface: file listing and downloads of one repository.
const commit = "0123456789abcdef0123456789abcdef01234567";
const files: Record<string, Buffer> = {
  "config.json": Buffer.from('{"model_type":"llama"}'),
  "tokenizer.json": Buffer.from("{}"),
  "model.safetensors": Buffer.alloc(200_000, 7),
  "README.md": Buffer.from("not wanted"),
};
let server: Server;
let cache: string;
let downloads: string[];
let breakAfter: number | undefined;

beforeEach(async () => {
  downloads = [];
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
    response.writeHead(range ? 206 : 200, { "content-length": part.length });
    if (part.length > 1) downloads.push(name);
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

test("an interrupted download leaves nothing under the file's name, and a retry completes it", async () => {
  breakAfter = 50_000;
  await expect(resolveHub("owner/model")).rejects.toMatchObject({ code: "OUTRIDER_NETWORK" });
  const snapshot = path.join(cache, "models--owner--model", "snapshots", commit, "model.safetensors");
  expect(existsSync(snapshot)).toBe(false);
  breakAfter = undefined;
  const folder = await resolveHub("owner/model");
  expect(readFileSync(path.join(folder, "model.safetensors")).equals(files["model.safetensors"])).toBe(true);
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
