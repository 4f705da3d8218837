// Attention with all threads, 32 query heads on 8 KV heads of size 128. `attention/decode-CONTEXT`: milliseconds of one row over a bf16 cache
// (`-f16`, `-f32`: other formats), cold: several caches take turns. Its baseline is the scalar reference level on one thread, its
// limit reading keys and values once. `attention/tree-N`: a binary token tree of N rows above 16384 tokens; its baseline is N rows
// by themselves, its limit the peak of bf16 multiply-accumulates.
import { doctor } from "outrider";
import { attention, f32, i32, KvPages } from "outrider/ops";
import { assertClose, interleave, normal, perCall } from "../measure.mjs";

const [heads, kvHeads, headDim] = [32, 8, 128];
const beyondCaches = 100e6;
// Kernels of bf16 products round queries and weights to 8 bits.
const closeness = { f32: 1e-4, f16: 1e-4, bf16: 2 ** -7 };

function pages(type, tokens, seed) {
  const kv = new KvPages(type, kvHeads, headDim);
  const values = normal(2 * 64 * kvHeads * headDim, seed); // 64 different tokens, repeated
  const part = (t, which) => {
    const at = ((t % 64) * 2 + which) * kvHeads * headDim;
    return f32(values.subarray(at, at + kvHeads * headDim), [kvHeads, headDim]);
  };
  for (let t = 0; t < tokens; t++) kv.append(part(t, 0), part(t, 1));
  return kv;
}

const queries = (n) => f32(normal(n * heads * headDim, 5), [n, heads, headDim]);

export async function run({ quick, threads, say }) {
  const rows = [];
  const seconds = quick ? 0.02 : 0.1;
  const repetitions = quick ? 3 : 7;
  const cases = quick
    ? [["bf16", 1024]]
    : ["bf16", "f16", "f32"].flatMap((type) => [4096, 16384, 32768].map((c) => [type, c]));
  for (const [type, context] of cases) {
    if (type === "f32" && context > 4096) continue;
    const id = `attention/decode-${context / 1024}k${type === "bf16" ? "" : `-${type}`}`;
    say(id);
    const bytes = context * kvHeads * headDim * 2 * (type === "f32" ? 4 : 2);
    const caches = Array.from({ length: Math.max(2, Math.ceil(beyondCaches / bytes)) }, () => pages(type, context, 3));
    const q = queries(1);
    const positions = i32([context - 1], [1]);
    const call = (i) => attention({ q, kv: caches[i % caches.length], positions, threads });
    const reference = () => attention({ q, kv: caches[0], positions, level: "ref" });
    assertClose(call(0).data, reference().data, closeness[type], id);
    const { best } = await interleave({ best: () => perCall(call, seconds) }, repetitions);
    const { ref } = await interleave({ ref: () => perCall(reference, 0) }, 1);
    const { bandwidthGBps } = await doctor({ threads });
    rows.push({ id, value: best[0] * 1e3, unit: "ms", baseline: ref[0] * 1e3, limit: bytes / bandwidthGBps / 1e6 });
  }
  const prefix = quick ? 1024 : 16384;
  const kv = pages("bf16", prefix, 3);
  for (const n of quick ? [16] : [4, 8, 16, 64]) {
    const id = `attention/tree-${n}`;
    say(id);
    const parents = Int32Array.from({ length: n }, (_, i) => (i === 0 ? -1 : (i - 1) >> 1));
    const tree = { kv: pages("bf16", n, 9), parents: i32(parents, [n]) };
    const [q, one] = [queries(n), queries(1)];
    const positions = i32([prefix - 1], [1]);
    const call = () => attention({ q, kv, tree, threads });
    assertClose(call().data, attention({ q, kv, tree, level: "ref" }).data, closeness.bf16, id);
    const { all, each } = await interleave(
      {
        all: () => perCall(call, seconds),
        each: () => perCall(() => attention({ q: one, kv, positions, threads }), seconds),
      },
      repetitions,
    );
    const { bf16PeakGmacs } = await doctor({ threads });
    const limit = bf16PeakGmacs > 0 ? (2 * n * heads * headDim * prefix) / bf16PeakGmacs / 1e6 : undefined;
    rows.push({ id, value: all[0] * 1e3, unit: "ms", baseline: n * each[0] * 1e3, limit });
  }
  return rows;
}
