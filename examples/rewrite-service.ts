// A service that rewrites documents: POST /rewrite with { "document": "...", "instruction": "..." } answers with server-sent events, pieces of the
// new document and at the end what it cost. Most of a rewritten document is the old one: input() drafts it, and the model only checks.
//   npx tsx examples/rewrite-service.ts [PORT]
import { type ServerType, serve } from "@hono/node-server";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { streamSSE } from "hono/streaming";
import { copy, input, load, type Model, OutriderError } from "outrider";

const mostCharacters = 20_000;

interface Wish {
  document: string;
  instruction: string;
}

function wishOf(body: unknown): Wish {
  const { document, instruction } = (body ?? {}) as Partial<Wish>;
  for (const [name, text] of Object.entries({ document, instruction }))
    if (typeof text !== "string" || text === "" || text.length > mostCharacters)
      throw new OutriderError("OUTRIDER_ARGUMENT", `Expected a text of up to ${mostCharacters} characters for ${name}`);
  return { document, instruction } as Wish;
}

/** The routes; whoever calls keeps the model. */
export function rewriteService(model: Model): Hono {
  const app = new Hono();
  app.post("/rewrite", bodyLimit({ maxSize: 16 * mostCharacters }), async (context) => {
    const { document, instruction } = wishOf(await context.req.json());
    return streamSSE(context, async (events) => {
      const gone = new AbortController();
      events.onAbort(() => gone.abort()); // a client that leaves ends its generation
      using chat = model.chat({ system: "You rewrite texts. Answer with the whole new text and nothing else." });
      const pieces = chat.stream(`${instruction}\n\n${document}`, {
        draft: [input({ source: document }), copy({ match: "latest" })],
        smooth: true,
        maxTokens: 64 + document.length, // a token is a character at least, and most are four
        temperature: 0,
        signal: gone.signal,
      });
      try {
        for await (const { text } of pieces)
          if (text !== "") await events.writeSSE({ event: "text", data: JSON.stringify(text) });
        const { result } = pieces;
        const done = { finishReason: result?.finishReason, stats: result?.stats };
        await events.writeSSE({ event: "done", data: JSON.stringify(done) });
      } catch (error) {
        if (gone.signal.aborted) return;
        const { code, message } = error as OutriderError; // too late for a status
        await events.writeSSE({ event: "error", data: JSON.stringify({ code, message }) });
      }
    });
  });
  app.onError((error, context) => {
    const refused = error instanceof SyntaxError || (error instanceof OutriderError && error.code === "OUTRIDER_ARGUMENT");
    return context.json({ message: error.message }, refused ? 400 : 500);
  });
  return app;
}

/** Serves until the process is told to end. */
export async function main(port: number): Promise<ServerType> {
  const model = await load();
  const server = serve({ fetch: rewriteService(model).fetch, port }, (info) =>
    console.log(`http://localhost:${info.port}`),
  );
  process.once("SIGTERM", () => {
    server.close();
    void model.dispose();
  });
  return server;
}

if (process.argv[1] === import.meta.filename) await main(Number(process.argv[2] ?? 8080));
