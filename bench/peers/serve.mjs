// The child's side: the same tasks for every library, timed the same way.

const promptTokens = 32;
const decoded = 128;
const burst = 16;

const prompt = (count) => Array.from({ length: count }, (_, i) => ((i * 7919 + 13) % 20_000) + 100);

/**
 * Answers tasks with tokens/s: "prefill512", "decode" (128 tokens after 32) and "decode-deep" (16 tokens more behind a prompt of
 * `depth` tokens, which the first time evaluates).
 * @param stream (ids, count) => async iterable that evaluates the ids and gives `count` tokens, greedily, never ending early, one
 * after the other as they are asked for
 * "texts" (`prompts`: ids and tokens to decode, `how` to draft) gives tokens/s between the first tokens and the last.
 * @param fill optional (ids) => Promise that makes the next stream of these ids cheap
 * @param answers optional task of its own
 */
export function serve(stream, { fill, answers } = {}) {
  let deep;
  const tasks = {
    answers,
    async texts({ prompts, how }) {
      let [seconds, tokens] = [0, 0];
      for (const { ids, count } of prompts) {
        let start;
        for await (const _ of stream(ids, count, how)) start ??= performance.now();
        seconds += (performance.now() - start) / 1e3;
        tokens += count - 1;
      }
      return tokens / seconds;
    },
    async prefill512() {
      const start = performance.now();
      for await (const _ of stream(prompt(512), 1)) break;
      return 512 / ((performance.now() - start) / 1e3);
    },
    async decode() {
      let start = 0;
      let count = 0;
      for await (const _ of stream(prompt(promptTokens), decoded + 1)) {
        if (count === 0) start = performance.now();
        count += 1;
      }
      if (count !== decoded + 1) throw new Error(`Expected ${decoded + 1} tokens, received ${count}`);
      return decoded / ((performance.now() - start) / 1e3);
    },
    async "decode-deep"({ depth }) {
      if (deep === undefined) {
        await fill?.(prompt(depth));
        deep = stream(prompt(depth), Number.POSITIVE_INFINITY)[Symbol.asyncIterator]();
        await deep.next();
      }
      const start = performance.now();
      for (let i = 0; i < burst; i++) await deep.next();
      return burst / ((performance.now() - start) / 1e3);
    },
  };
  process.on("message", async ({ task, ...options }) => process.send(await tasks[task](options)));
  process.on("disconnect", () => process.exit()); // the benchmark was stopped
  process.send("ready");
}
