// What a service relies on: the event loop stays free, aborts take effect, nothing leaks, workers may die, calls may overlap.
import { execFile, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model, OutriderError } from "../../lib/index.ts";
import { openSource } from "../../lib/load/source.ts";
import { specFromConfig } from "../../lib/model/config.ts";
import { mapWeights } from "../../lib/model/weights.ts";
import { code } from "../support/errors.ts";
import { safetensorsFile, writeMicroFolder } from "../support/micro-model.ts";
import { openRuntime, startRuntime } from "../support/runtime.ts";
import { sharedDir } from "../support/shared.ts";
import { tinyModel } from "../support/tiny.ts";

const root = path.resolve(import.meta.dirname, "../..");
const temporary = mkdtempSync(path.join(tmpdir(), "outrider-behaviour-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** Runs a program of test/support/programs with the built package. */
async function program(name: string, ...args: string[]): Promise<string> {
  const file = path.join(root, "test/support/programs", name);
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", file, ...args], { cwd: root });
  return stdout.trim();
}

/** A model with room for long prompts: SmolLM2 if it is there, else the tiny model with a longer context. */
function longModel(): string {
  const shared = sharedDir();
  if (shared) return path.join(shared, "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
  const folder = path.join(temporary, "long");
  cpSync(tinyModel, folder, { recursive: true });
  const file = path.join(folder, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...config, max_position_embeddings: 8192 }));
  return folder;
}

describe("a model", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(tinyModel, { threads: 2 });
  });
  afterAll(() => model.dispose());

  const greedy = { maxTokens: 40, temperature: 0, ignoreEos: true } as const;
  const prompts = ["Once upon a time", "The little dog", "Tom and Sue went to the park. They", "A"];

  test("overlapping generations give the text they give alone, and take turns", async () => {
    const alone = [];
    for (const prompt of prompts) alone.push((await model.generate(prompt, greedy)).text);
    const order: number[] = [];
    const together = await Promise.all(
      prompts.map(async (prompt, i) => {
        let text = "";
        for await (const piece of model.stream(prompt, greedy)) {
          text += piece.text;
          order.push(i);
        }
        return text;
      }),
    );
    expect(together).toEqual(alone);
    // Fair: when the first generation ends, every other one is nearly done too.
    const firstEnd = Math.min(...prompts.map((_, i) => order.lastIndexOf(i)));
    for (const [i] of prompts.entries())
      expect(order.slice(0, firstEnd + 1).filter((entry) => entry === i).length).toBeGreaterThan(30);
  });

  test("stats are those of the call", async () => {
    const ids = model.tokenize("Once upon a time there was");
    const { stats, tokens, finishReason } = await model.generate(ids, greedy);
    expect(stats).toMatchObject({ promptTokens: ids.length, generatedTokens: 40, cachedTokens: 0 });
    expect([tokens.length, finishReason]).toEqual([40, "length"]);
    // One page of 64 tokens: keys and values of 4 layers, 2 heads of 64, in f16.
    expect(stats.kvBytes).toBe(64 * 2 * 4 * 2 * 64 * 2);
    expect(stats.kvBytesF16).toBe(stats.kvBytes);
    for (const key of [
      "prefillTokensPerSecond",
      "decodeTokensPerSecond",
      "timeToFirstTokenMs",
      "peakScratchBytes",
    ] as const)
      expect(stats[key], key).toBeGreaterThan(0);
    expect(stats.totalMs).toBeGreaterThanOrEqual(stats.timeToFirstTokenMs);
  });

  test("seeds reproduce, and differ from each other", async () => {
    const sampled = { maxTokens: 30, temperature: 1, ignoreEos: true };
    const first = await model.generate(prompts[0], { ...sampled, seed: 7 });
    expect((await model.generate(prompts[0], { ...sampled, seed: 7 })).text).toBe(first.text);
    expect((await model.generate(prompts[0], { ...sampled, seed: 8 })).text).not.toBe(first.text);
    const free = await model.generate(prompts[0], sampled);
    expect((await model.generate(prompts[0], { ...sampled, seed: free.seed })).text).toBe(free.text);
  });

  test("streamed pieces are the generated text, stop strings end it, minTokens and maxTokens hold", async () => {
    const whole = await model.generate(prompts[0], greedy);
    let text = "";
    const tokens: number[] = [];
    for await (const piece of model.stream(prompts[0], greedy)) {
      text += piece.text;
      tokens.push(...piece.tokens);
    }
    expect([text, tokens]).toEqual([whole.text, whole.tokens]);
    const stop = whole.text.slice(20, 26);
    const stopped = await model.generate(prompts[0], { ...greedy, stop: [stop] });
    expect(stopped).toMatchObject({ finishReason: "stop", stop, text: whole.text.slice(0, whole.text.indexOf(stop)) });
    const byToken = await model.generate(prompts[0], { ...greedy, stopTokens: [whole.tokens[5]] });
    expect(byToken.tokens).toEqual(whole.tokens.slice(0, whole.tokens.indexOf(whole.tokens[5]) + 1));
    const later = await model.generate(prompts[0], { ...greedy, stopTokens: [whole.tokens[0]], minTokens: 3 });
    expect(later.tokens.slice(0, 3)).not.toContain(whole.tokens[0]);
    expect((await model.generate(prompts[0], { ...greedy, maxTokens: 0 })).tokens).toEqual([]);
  });

  test("logprobs are those of the raw logits", async () => {
    const ids = model.tokenize(prompts[0]);
    const { logprobs, tokens } = await model.generate(ids, { ...greedy, maxTokens: 4, logprobs: 3 });
    const { data } = await model.logits([...ids, ...tokens]);
    const { vocab } = model.info;
    logprobs?.forEach((entry, i) => {
      const row = data.subarray((ids.length - 1 + i) * vocab, (ids.length + i) * vocab);
      const most = row.reduce((a, b) => Math.max(a, b));
      const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0)) + most;
      expect(entry.token).toBe(tokens[i]);
      expect(entry.logprob).toBeCloseTo(row[tokens[i]] - total, 4);
      expect(entry.top.map(({ token }) => token)).toEqual(
        Array.from(row.keys())
          .sort((a, b) => row[b] - row[a] || a - b)
          .slice(0, 3),
      );
      for (const { token, logprob } of entry.top) expect(logprob).toBeCloseTo(row[token] - total, 4);
    });
    expect(logprobs?.length).toBe(4);
  });

  test("an aborted call rejects with the signal's reason and the model goes on", async () => {
    const reason = new Error("enough");
    await expect(model.generate("a", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const running = model.generate(prompts[0], { maxTokens: 1900, ignoreEos: true, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 5);
    await expect(running).rejects.toBe(reason);
    const stream = model.stream(prompts[0], { ...greedy, signal: controller.signal });
    await expect(stream.next()).rejects.toBe(reason);
    await expect(load(tinyModel, { signal: controller.signal })).rejects.toBe(reason);
    await expect(model.logits([1, 2], { signal: controller.signal })).rejects.toBe(reason);
    expect((await model.generate(prompts[0], greedy)).tokens.length).toBe(40);
  });

  test("prompts that do not fit and arguments that make no sense are refused", async () => {
    await expect(model.generate(new Int32Array(model.info.contextLength + 1))).rejects.toEqual(
      code("OUTRIDER_CONTEXT"),
    );
    await expect(model.generate([])).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(model.generate([model.info.vocab])).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(model.generate([0.5])).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(model.generate("a", { temperature: -1 })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(model.generate("a", { topP: Number.NaN })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(model.generate("a", { maxToken: 1 } as never)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(load(tinyModel, { threads: 0 })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(load(tinyModel, { contextLength: 1e9 })).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    await expect(load("no/such/folder/anywhere")).rejects.toEqual(code("OUTRIDER_NOT_FOUND"));
    // A context that fills up ends the text.
    const full = await model.generate(new Int32Array(model.info.contextLength - 2), { ...greedy, maxTokens: 10 });
    expect([full.tokens.length, full.finishReason]).toEqual([3, "length"]);
  });

  test("a disposed model says so; a dispose in the middle of a call ends it", async () => {
    const other = await load(tinyModel, { threads: 2 });
    const running = other.generate(prompts[0], { maxTokens: 1900, ignoreEos: true });
    const outcome = expect(running).rejects.toEqual(code("OUTRIDER_DISPOSED"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    await other.dispose();
    await other.dispose();
    await outcome;
    await expect(other.generate("a")).rejects.toEqual(code("OUTRIDER_DISPOSED"));
    expect(() => other.chat()).toThrow(OutriderError);
    expect((await model.generate(prompts[0], greedy)).tokens.length).toBe(40);
  });

  test("chats own their cache: turns reuse it, forks diverge, snapshots go on", async () => {
    const chat = model.chat({ temperature: 0, maxTokens: 12, system: "Be brief." });
    await chat.send("Hello there, how are you today?");
    const second = await chat.send("And now?");
    expect(second.stats.cachedTokens).toBeGreaterThan(0);
    const image = await chat.save();
    const fork = chat.fork();
    const expected = (await fork.send("Tell me more.")).text;
    await chat.send("Something else entirely.");
    const restored = model.chat({ temperature: 0, maxTokens: 12 });
    await restored.restore(image);
    expect(restored.history.length).toBe(5);
    expect((await restored.send("Tell me more.")).text).toBe(expected);
    const busy = restored.send("One");
    await expect(restored.send("Two")).rejects.toEqual(code("OUTRIDER_BUSY"));
    await busy;
    await expect(restored.restore(image.slice(0, 50))).rejects.toEqual(code("OUTRIDER_SNAPSHOT"));
  });
});

describe("a long prompt", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(longModel(), { threads: 2 });
  });
  afterAll(() => model.dispose());

  const prompt = (count: number) => Int32Array.from({ length: count }, (_, i) => (i * 7919) % 2000);

  // Timings are retried: other suites run beside this one.
  test("the event loop stays free while 4096 tokens are prefilled", { retry: 3 }, async () => {
    await model.generate(prompt(64), { maxTokens: 1 }); // pools started, code compiled
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await model.generate(prompt(4096), { maxTokens: 1 });
    delay.disable();
    const p99 = delay.percentile(99) / 1e6;
    console.log(
      `event-loop delay while prefilling 4096 tokens: p50 ${(delay.percentile(50) / 1e6).toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${(delay.max / 1e6).toFixed(1)} ms`,
    );
    expect(p99).toBeLessThan(10);
  });

  test("an abort takes effect within milliseconds", { retry: 3 }, async () => {
    const took: number[] = [];
    for (let i = 0; i < 7; i++) {
      const controller = new AbortController();
      const running = model.generate(prompt(6000), { maxTokens: 1, signal: controller.signal });
      await new Promise((resolve) => setTimeout(resolve, 20 + 7 * i));
      const start = performance.now();
      controller.abort();
      await expect(running).rejects.toBe(controller.signal.reason);
      took.push(performance.now() - start);
    }
    took.sort((a, b) => a - b);
    console.log(`abort during prefill: median ${took[3].toFixed(1)} ms, slowest ${took[6].toFixed(1)} ms`);
    expect(took[3]).toBeLessThan(60); // 20 ms on a quiet machine
  });
});

describe("programs", () => {
  test("memory stays flat over loads, streams left early and aborts", async () => {
    const { loads, breaks, aborts, kvBytes } = JSON.parse(await program("load-dispose.mjs"));
    console.log(
      `RSS growth in KiB over 200 cycles: loads ${loads >> 10}, breaks ${breaks >> 10}, aborts ${aborts >> 10}`,
    );
    expect(loads).toBeLessThan(24 * 2 ** 20); // the weights alone, leaked, would be 200 times 4 MB
    expect(breaks).toBeLessThan(20 * kvBytes);
    expect(aborts).toBeLessThan(20 * kvBytes);
  });

  test("workers may be terminated in the middle of a generation", async () => {
    expect(await program("terminate.mjs")).toBe("terminated 20");
  });

  test("index arrays in shared memory may change at any time", async () => {
    expect(await program("shared-index.mjs")).toBe("no crash");
  });

  test("snapshots may shrink or change while they are restored", async () => {
    expect(await program("shrinking.mjs")).toBe("no crash");
  });

  test.skipIf(spawnSync("prlimit", ["--version"]).status !== 0)("threads may be refused by the system", async () => {
    expect(await program("few-threads.mjs")).toBe("OUTRIDER_IO, no crash");
  });

  test("loading a model does not hold up another one's steps", { retry: 3 }, async () => {
    const folder = path.join(temporary, "beside");
    writeWideModel(folder);
    const files = await openSource(folder);
    const config = specFromConfig(files.config ?? {});
    const mapped = mapWeights(config, files.tensors, files.kind, files.config);
    const runtime = await openRuntime(tinyModel);
    const cache = runtime.newCache();
    const row = { tokens: Int32Array.of(5), sequence: new Int32Array(1), wants: new Uint8Array(1), caches: [cache] };
    await runtime.step(row);
    const tokens: number[] = [];
    let loading = true;
    const start = performance.now();
    const other = startRuntime(config, mapped).finally(() => {
      loading = false;
    });
    // What the engine takes for a step: the event loop has its own business meanwhile.
    while (loading && cache.length < 1900) tokens.push((await runtime.step(row)).seconds * 1e3);
    await other.then((loaded) => loaded.dispose());
    const took = performance.now() - start;
    tokens.sort((a, b) => a - b);
    const [median, longest] = [tokens[tokens.length >> 1], tokens[tokens.length - 1]];
    console.log(
      `while a model loads (${took.toFixed(0)} ms): ${tokens.length} tokens, median ${median.toFixed(1)} ms, longest ${longest.toFixed(1)} ms`,
    );
    // Its largest matrix takes a tenth of the load; held to the end, it would hold a token up as long. Machines differ in how long
    // that is.
    expect(tokens.length).toBeGreaterThan(20);
    expect(longest).toBeLessThan(Math.max(40, took / 25));
    await runtime.dispose();
  });

  test("8 workers share one copy of the weights", async () => {
    const folder = path.join(temporary, "wide");
    const config = writeWideModel(folder);
    const { weightBytes, one, others, texts } = JSON.parse(await program("share.mjs", folder));
    console.log(
      `weights ${weightBytes >> 20} MiB: the first worker added ${one >> 20} MiB, seven more ${others >> 20} MiB`,
    );
    expect(weightBytes).toBeGreaterThan(config.bytes * 0.9);
    expect(one).toBeGreaterThan(weightBytes * 0.9);
    expect(others).toBeLessThan(weightBytes * 2); // seven isolates, no weights
    expect(new Set(texts).size).toBe(1);
  });
});

/** A folder of 200 MB of f16 weights with the micro tokenizer. */
function writeWideModel(folder: string): { bytes: number } {
  const [hidden, ffn, heads, vocab] = [1024, 8192, 16, 64];
  const layer = "model.layers";
  const shapes: Record<string, number[]> = {
    "model.embed_tokens.weight": [vocab, hidden],
    "model.norm.weight": [hidden],
  };
  for (let l = 0; l < 4; l++) {
    for (const name of ["q", "k", "v", "o"]) shapes[`${layer}.${l}.self_attn.${name}_proj.weight`] = [hidden, hidden];
    for (const name of ["gate", "up"]) shapes[`${layer}.${l}.mlp.${name}_proj.weight`] = [ffn, hidden];
    shapes[`${layer}.${l}.mlp.down_proj.weight`] = [hidden, ffn];
    for (const name of ["input", "post_attention"]) shapes[`${layer}.${l}.${name}_layernorm.weight`] = [hidden];
  }
  const tensors = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      // Small numbers of both signs: f16 bits of +-2^-10 to 2^-5.
      const count = shape.reduce((a, b) => a * b, 1);
      const data = new Uint16Array(count);
      for (let i = 0; i < count; i++) data[i] = 0x1400 + ((i * 40503) & 0x93ff);
      return [name, { dtype: "F16", shape, data: new Uint8Array(data.buffer) }];
    }),
  );
  const config = {
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: 4,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    max_position_embeddings: 256,
    tie_word_embeddings: true,
    vocab_size: vocab,
  };
  const weights = safetensorsFile(tensors);
  writeMicroFolder(folder, { config, weights });
  return { bytes: weights.length };
}
