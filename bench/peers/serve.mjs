// The child's side: the same tasks for every library, timed the same way.

const decoded = 64;

/**
 * Answers "prefill512" and "decode" with tokens/s.
 * @param stream (ids, count) => async iterable that evaluates the ids and gives `count` tokens, greedily, never ending early
 */
export function serve(stream) {
  const prompt = (count) => Array.from({ length: count }, (_, i) => ((i * 7919 + 13) % 20_000) + 100);
  const tasks = {
    async prefill512() {
      const start = performance.now();
      for await (const _ of stream(prompt(512), 1)) break;
      return 512 / ((performance.now() - start) / 1e3);
    },
    async decode() {
      let start = 0;
      let count = 0;
      for await (const _ of stream(prompt(16), decoded + 1)) {
        if (count === 0) start = performance.now();
        count += 1;
      }
      if (count !== decoded + 1) throw new Error(`Expected ${decoded + 1} tokens, received ${count}`);
      return decoded / ((performance.now() - start) / 1e3);
    },
  };
  process.on("message", async (task) => process.send(await tasks[task]()));
  process.send("ready");
}
