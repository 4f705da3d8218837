// Index arrays in shared memory that a worker changes while ops check and use them: an error or a result, never a crash.
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { OutriderError } from "outrider";
import { attention, embedding, f32, i32, KvPages, packWeights, Tensor } from "outrider/ops";

const rows = 4000;
const chain = 512;

if (isMainThread) {
  const tokens = new Int32Array(new SharedArrayBuffer(4 * rows));
  const parents = new Int32Array(new SharedArrayBuffer(4 * chain));
  const positions = new Int32Array(new SharedArrayBuffer(4 * chain));
  const worker = new Worker(new URL(import.meta.url), { workerData: { tokens, parents, positions } });
  worker.unref();

  const table = packWeights(f32(new Float32Array(64 * 16), [64, 16]));
  const kv = new KvPages("f32", 1, 4);
  const nodes = new KvPages("f32", 1, 4);
  const token = f32(new Float32Array(4), [1, 4]);
  for (let n = 0; n < chain; n++) {
    kv.append(token, token);
    nodes.append(token, token);
  }
  const q = f32(new Float32Array(chain * 4), [chain, 1, 4]);
  const wrap = (values) => Tensor.from("i32", values, [values.length]);
  const tree = { kv: nodes, parents: wrap(parents) };
  const empty = new KvPages("f32", 1, 4);
  const count = { done: 0, refused: 0 };
  const attempt = (call) => {
    try {
      call();
      count.done++;
    } catch (error) {
      if (!(error instanceof OutriderError)) throw error;
      count.refused++;
    }
  };
  for (const end = performance.now() + 2500; performance.now() < end; ) {
    attempt(() => embedding({ table, tokens: wrap(tokens) }));
    attempt(() => attention({ q, kv, positions: wrap(positions) }));
    attempt(() => attention({ q, kv: empty, tree }));
  }
  if (count.done === 0 || count.refused === 0) throw new Error(`nothing raced: ${JSON.stringify(count)}`);
  attempt(() => attention({ q: f32([1, 2, 3, 4], [1, 1, 4]), kv, positions: i32([0], [1]) }));
  console.log("no crash");
} else {
  const { tokens, parents, positions } = workerData;
  const last = chain - 1;
  for (;;) {
    tokens[rows - 1] = 0x7ffffff0;
    positions[last] = 0x7ffffff0;
    parents[last] = last - 1; // deep
    parents[last - 1] = -1;
    for (let i = 0; i < 3000; i++);
    tokens[rows - 1] = 0;
    positions[last] = 3;
    for (let n = 0; n < chain; n++) parents[n] = n - 1;
    for (let i = 0; i < 3000; i++);
  }
}
