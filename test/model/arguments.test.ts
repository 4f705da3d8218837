// What the public calls do with arguments that make no sense, with callbacks that throw, and that results survive JSON.
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { affineModel } from "../../bench/shapes/llama.mjs";
import { doctor, inspect, load, type Model } from "../../lib/index.ts";
import { run } from "../support/command.ts";
import { code } from "../support/errors.ts";
import { tinyModel } from "../support/tiny.ts";

const bad = (message: RegExp) => code("OUTRIDER_ARGUMENT", message);
const nonsense = (value: unknown) => value as never;
let model: Model;
beforeAll(async () => {
  model = await load(tinyModel, { threads: 1 });
});
afterAll(() => model.dispose());

describe("token ids", () => {
  const claims = { length: 1e9, 0: 1 };
  const calls: [string, (ids: never) => unknown][] = [
    ["prompt", (ids) => model.generate(ids)],
    ["prompt", (ids) => model.stream(ids).next()],
    ["ids", (ids) => model.logits(ids)],
    ["ids", async (ids) => model.detokenize(ids)],
  ];

  test.each(calls)("are an array or typed array of integers for %s (%o)", async (name, call) => {
    const start = performance.now();
    for (const value of [claims, 5, undefined, null, new Float32Array(2), new BigInt64Array(1), new Set([1])]) {
      await expect(call(nonsense(value))).rejects.toEqual(bad(new RegExp(`token ids for ${name}, received`)));
    }
    await expect(call(nonsense([1, 0.5]))).rejects.toEqual(bad(new RegExp(`for ${name}\\[1\\], received 0.5$`)));
    const hollow: number[] = [1];
    hollow.length = 2 ** 32 - 1;
    await expect(call(nonsense(hollow))).rejects.toEqual(expect.objectContaining({ name: "OutriderError" }));
    expect(performance.now() - start).toBeLessThan(1000); // nothing that long is copied or walked
  });

  test("more than fit are refused before they are read", async () => {
    const long = new Proxy([] as number[], {
      get: (target, key) => {
        if (key === "length") return 10_000;
        if (typeof key === "string" && /^\d+$/.test(key)) throw new Error("read");
        return Reflect.get(target, key);
      },
    });
    for (const call of [model.generate(long), model.logits(long)])
      await expect(call).rejects.toEqual(code("OUTRIDER_CONTEXT", /at most 2048 tokens .*received 10000$/));
  });

  test("any integers will do", async () => {
    const { data } = await model.logits([1, 2]);
    expect((await model.logits(Uint16Array.of(1, 2))).data).toEqual(data);
    expect(model.detokenize(Uint8Array.of(60, 61))).toBe(model.detokenize([60, 61]));
  });
});

describe("options", () => {
  test.each<[string, () => unknown, RegExp]>([
    ["load: onProgress", () => load(tinyModel, nonsense({ onProgress: 1 })), /a function for onProgress, received 1$/],
    ["load: revision", () => load(tinyModel, nonsense({ revision: 3 })), /for revision, received 3$/],
    ["logits: signal", () => model.logits([1], nonsense({ signal: 5 })), /for signal, received 5$/],
    ["logits: misspelt", () => model.logits([1], nonsense({ singal: 5 })), /for options, received "singal"$/],
    ["perplexity: signal", () => model.perplexity("a b c", nonsense({ signal: 5 })), /for signal, received 5$/],
    ["perplexity: onProgress", () => model.perplexity("a b", nonsense({ onProgress: {} })), /for onProgress/],
    ["perplexity: misspelt", () => model.perplexity("a b", nonsense({ widow: 64 })), /for options, received "widow"$/],
    ["perplexity: maxWindows", () => model.perplexity("a b", { maxWindows: 1.5 }), /for maxWindows, received 1.5$/],
    ["tokenize: misspelt", async () => model.tokenize("a", nonsense({ specials: true })), /received "specials"$/],
    ["tokenize: special", async () => model.tokenize("a", nonsense({ special: 1 })), /for special, received 1$/],
    ["inspect", () => inspect(nonsense(5)), /for source, received 5$/],
    ["doctor", () => doctor(nonsense({ thread: 1 })), /received "thread"$/],
    ["chat", async () => model.chat(nonsense(null)), /for options, received null$/],
    ["send", () => model.chat().send("a", nonsense(5)), /for options, received 5$/],
    ["logprobs", () => model.generate("a", { logprobs: 65 }), /an integer from 0 to 64 for logprobs, received 65$/],
    ["topK", () => model.generate("a", { topK: 2 ** 31 }), /from 0 to 2147483647 for topK, received 2147483648$/],
    ["stopTokens", () => model.generate("a", { stopTokens: [1, -1] }), /below 2048 for stopTokens\[1\], received -1$/],
    ["stopTokens", () => model.generate("a", nonsense({ stopTokens: 5 })), /for stopTokens, received 5$/],
    ["ignoreEos", () => model.generate("a", nonsense({ ignoreEos: "no" })), /for ignoreEos, received "no"$/],
    ["seed", () => model.generate("a", { seed: "0x7" }), /for seed, received "0x7"$/],
  ])("%s", async (_, call, message) => {
    await expect((async () => call())()).rejects.toEqual(bad(message));
  });

  test("info cannot be changed", () => {
    expect(() => Object.assign(model.info, { threads: 99 })).toThrow(TypeError);
    expect(() => Object.assign(model.info.bytesByFormat, { f32: 0 })).toThrow(TypeError);
  });
});

describe("a seed in a result", () => {
  const options = { maxTokens: 12, temperature: 1, ignoreEos: true };
  test.each([
    [7, 7],
    [2 ** 53 - 1, 2 ** 53 - 1],
    [2n ** 53n, "9007199254740992"],
    [-1, "18446744073709551615"],
    ["18446744073709551615", "18446744073709551615"],
    ["-1", "18446744073709551615"],
    [undefined, expect.any(Number)],
  ])("%s survives JSON and gives the same text again", async (seed, given) => {
    const result = await model.generate("Once", { ...options, seed });
    const stored = JSON.parse(JSON.stringify(result));
    expect(stored.seed).toEqual(given);
    expect((await model.generate("Once", { ...options, seed: stored.seed })).text).toBe(result.text);
  });

  test("of a chat as well", async () => {
    const chat = model.chat();
    expect(JSON.parse(JSON.stringify(await chat.send("Hi", { ...options, seed: 3 })))).toMatchObject({ seed: 3 });
    chat.dispose();
  });
});

describe("onProgress that throws ends load() with its error", () => {
  const error = new Error("the caller's own");

  test("at the end", async () => {
    const onProgress = ({ loaded, total }: { loaded: number; total: number }) => {
      if (loaded === total) throw error;
    };
    await expect(load(tinyModel, { threads: 1, onProgress })).rejects.toBe(error);
  });

  // The timer is turned by hand: what its callback throws would otherwise be an uncaught error of the process.
  test("while the weights are read, and its timer is gone", async () => {
    // 50 MB: small models are there before anybody could look.
    const shape = { layers: 2, hidden: 512, heads: 8, kvHeads: 4, ffn: 1536, vocab: 40_000, context: 128 };
    const large = affineModel(shape, 8, 32);
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      let early = 0;
      let settled = false;
      const onProgress = ({ loaded, total }: { loaded: number; total: number }) => {
        if (loaded === total) return;
        early += 1;
        throw error;
      };
      const loading = load(large, { threads: 1, onProgress }).finally(() => {
        settled = true;
      });
      const outcome = expect(loading).rejects.toBe(error);
      while (!settled) {
        vi.advanceTimersByTime(50);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await outcome;
      expect([early, vi.getTimerCount()]).toEqual([1, 0]);
    } finally {
      vi.useRealTimers();
    }
  });
});

test("a chat disposed while it restores holds no KV cache", async () => {
  const chat = model.chat({ maxTokens: 4 });
  await chat.send("Hello");
  const snapshot = await chat.save();
  const other = model.chat();
  const restoring = other.restore(snapshot);
  other.dispose();
  await expect(restoring).rejects.toEqual(code("OUTRIDER_DISPOSED"));
  expect(() => other.kvBytes).toThrow(code("OUTRIDER_DISPOSED"));
  await expect(other.restore(snapshot)).rejects.toEqual(code("OUTRIDER_DISPOSED"));
  chat.dispose();
});

test("a chat snapshot that does not fit says how long it is", async () => {
  const chat = model.chat({ maxTokens: 4 });
  await chat.send("Hello there, how are you today? I am very well.");
  const short = await load(tinyModel, { threads: 1, contextLength: 8 });
  await expect(short.chat().restore(await chat.save())).rejects.toEqual(
    code("OUTRIDER_SNAPSHOT", /at most 8 tokens .*for snapshot, received \d+$/),
  );
  await short.dispose();
});

test("OUTRIDER_ISA with a name that no level has is refused by load(), and told by doctor()", async () => {
  const program = `import { doctor, load } from "outrider";
    const { levelReason } = await doctor();
    console.log(levelReason);
    await load().catch(({ code, message }) => console.log(code, message));`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], {
    cwd: path.resolve(import.meta.dirname, "../.."),
    env: { ...process.env, OUTRIDER_ISA: "avx1024" },
  });
  expect(stdout).toMatch(/^OUTRIDER_ISA names no known level/);
  expect(stdout).toMatch(
    /OUTRIDER_ARGUMENT Expected ref.* for the environment variable OUTRIDER_ISA, received "avx1024"/,
  );
});
