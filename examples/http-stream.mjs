// A service that streams text: POST /generate with { "prompt": "...", "maxTokens": 64 } answers with server-sent events.
//   node examples/http-stream.mjs [MODEL] [PORT]
import { createServer } from "node:http";
import { load, OutriderError } from "outrider";

const [source, port = "8080"] = process.argv.slice(2);
const model = await load(source || undefined);

async function readJson(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 1e6) throw new OutriderError("OUTRIDER_ARGUMENT", "Expected at most 1 MB of JSON");
  }
  return JSON.parse(text);
}

const server = createServer(async (request, response) => {
  const gone = new AbortController();
  response.on("close", () => gone.abort()); // a client that leaves ends its generation
  try {
    const { prompt, ...options } = await readJson(request);
    const pieces = model.stream(prompt, { maxTokens: 64, ...options, signal: gone.signal });
    const first = await pieces.next(); // errors of the options come before any header
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = (piece) => response.write(`data: ${JSON.stringify({ text: piece.text })}\n\n`);
    if (!first.done) send(first.value);
    for await (const piece of pieces) {
      // Backpressure: the next token is computed when this one has left.
      if (!send(piece)) await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
    }
    response.end("data: [DONE]\n\n");
  } catch (error) {
    if (gone.signal.aborted) return;
    if (response.headersSent) return response.destroy(); // too late for a status: break the connection off
    const status = error instanceof OutriderError || error instanceof SyntaxError ? 400 : 500;
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ code: error.code, message: error.message }));
  }
});

server.listen(Number(port), () => console.log(`http://localhost:${server.address().port}`));
process.once("SIGTERM", async () => {
  server.close();
  await model.dispose();
});
