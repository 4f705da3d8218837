// The examples run.
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

let server: ChildProcess;
let url: string;
beforeAll(async () => {
  const file = path.resolve(import.meta.dirname, "../../examples/http-stream.mjs");
  server = spawn(process.execPath, [file, "", "0"]);
  url = await new Promise((resolve) => server.stdout?.once("data", (line) => resolve(String(line).trim())));
});
afterAll(async () => {
  const ended = new Promise((resolve) => server.once("exit", resolve));
  server.kill("SIGTERM");
  expect(await ended).toBe(0);
});

const post = (body: unknown, signal?: AbortSignal) =>
  fetch(`${url}/generate`, { method: "POST", body: JSON.stringify(body), signal });

test("http-stream sends events, refuses bad options, and outlives clients that leave", async () => {
  const text = await (await post({ prompt: "Once upon a time", maxTokens: 12, ignoreEos: true })).text();
  const events = text.trim().split("\n\n");
  expect(events.length).toBe(13);
  expect(events.at(-1)).toBe("data: [DONE]");
  const refused = await post({ prompt: "a", topP: 5 });
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ code: "OUTRIDER_ARGUMENT" });
  const leaving = new AbortController();
  const long = await post({ prompt: "a", maxTokens: 1500, ignoreEos: true }, leaving.signal);
  await long.body?.getReader().read();
  leaving.abort();
  expect((await post({ prompt: "b", maxTokens: 2 })).status).toBe(200);
});
