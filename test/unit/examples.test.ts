// The examples run.
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { load } from "outrider";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rewriteService } from "../../examples/rewrite-service.ts";
import { tinyModel } from "../support/tiny.ts";

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

describe("rewrite-service", () => {
  const document =
    "The office opens at seven in the morning and closes at six in the evening. Boats longer than twelve metres wait.";

  test("streams a document as events, with statistics of the drafts; refuses what is no wish", async () => {
    const model = await load(tinyModel);
    const app = rewriteService(model);
    const ask = (body: string, signal?: AbortSignal) => app.request("/rewrite", { method: "POST", body, signal });
    const answer = await ask(JSON.stringify({ document, instruction: "Write boats as ships." }));
    expect(answer.headers.get("content-type")).toContain("text/event-stream");
    const events = (await answer.text())
      .trim()
      .split("\n\n")
      .map((block) => Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s))));
    expect(events.slice(0, -1).every(({ event }) => event === "text")).toBe(true);
    const text = events.slice(0, -1).map(({ data }) => JSON.parse(data)).join(""); // biome-ignore format: one line
    expect(text.length).toBeGreaterThan(20);
    const done = JSON.parse(events[events.length - 1].data);
    expect(done.finishReason).toMatch(/^(stop|length)$/);
    expect(Object.keys(done.stats.speculation.drafters)).toEqual(["input", "copy"]);

    for (const wrong of [
      "{",
      "5",
      "{}",
      JSON.stringify({ document, instruction: 5 }),
      JSON.stringify({ document: "", instruction: "a" }),
    ]) {
      const refused = await ask(wrong);
      expect(refused.status).toBe(400);
      expect(await refused.json()).toMatchObject({ message: expect.stringMatching(/./) });
    }
    const gone = new AbortController();
    const left = await ask(JSON.stringify({ document, instruction: "Write it again and again." }), gone.signal);
    await left.body?.getReader().cancel();
    expect((await ask("{}")).status).toBe(400);
    await model.dispose();
  });
});
