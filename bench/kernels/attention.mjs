// attention on one thread, 32 query heads on 8 KV heads of size 128: rows `attention/KV/CONTEXT/nROWS`, microseconds per call. Several rows
// are a token tree. The baseline is the scalar reference level, the limit reading keys and values once.
import { doctor } from "outrider";
import { attention, f32, i32, KvPages } from "outrider/ops";
import { assertClose, interleave, normal, perCall } from "../measure.mjs";

const [heads, kvHeads, headDim] = [32, 8, 128];

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

/** A tree in which each row has two children. */
const binary = (n) => Int32Array.from({ length: n }, (_, i) => (i === 0 ? -1 : (i - 1) >> 1));

export async function run({ quick, say }) {
  const { bandwidthGBps } = await doctor({ threads: 1 });
  const rows = [];
  for (const type of ["f16", "bf16", "f32"]) {
    for (const context of quick ? [1024] : [1024, 4096, 16384]) {
      const kv = pages(type, context, 3);
      for (const n of [1, 16]) {
        const id = `attention/${type}/${context}/n${n}`;
        say(id);
        const q = f32(normal(n * heads * headDim, 5), [n, heads, headDim]);
        const tree = { kv: pages(type, n, 9), parents: i32(binary(n), [n]) };
        const call = (level) => attention({ q, kv, tree, level });
        assertClose(call().data, call("ref").data, 1e-4, id);
        const seconds = quick ? 0.02 : 0.1;
        const { best, ref } = await interleave(
          { best: () => perCall(() => call(), seconds), ref: () => perCall(() => call("ref"), seconds) },
          quick ? 3 : 7,
        );
        const bytes = context * kvHeads * headDim * 2 * (type === "f32" ? 4 : 2);
        rows.push({
          id,
          value: best[0] * 1e6,
          unit: "us",
          baseline: ref[0] * 1e6,
          limit: (bytes / bandwidthGBps / 1e9) * 1e6,
        });
      }
    }
  }
  return rows;
}
