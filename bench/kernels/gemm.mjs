// gemm on one thread: rows `gemm/FORMAT-ACTIVATION/nROWS`, microseconds per call of a 2048 x 2048 matrix. The baseline is the scalar
// reference level. One row per call reads several matrices in turn, more than the caches hold, and has reading the weights once as its limit.
import { doctor } from "outrider";
import { affine, bf16, f16, f32, gemm, PackedWeights } from "outrider/ops";
import { assertClose, interleave, normal, perCall } from "../measure.mjs";

const size = 2048;
const group = 64;
const beyondCaches = 192e6;

function affineWeights(bits, seed) {
  const words = new Uint32Array(normal((size * size * bits) / 32, seed).buffer);
  const count = (size * size) / group;
  const scale = new Uint16Array(count).fill(0x3c00 - ((bits - 1) << 10)); // f16 of 2 / 2^bits
  const zero = new Uint16Array(count).fill(0xbc00); // f16 of -1
  return affine({ bits, group, codes: new Uint8Array(words.buffer), scale, zero, shape: [size, size] });
}

const dense = (make) => (seed) => make(Array.from(normal(size * size, seed)), [size, size]);
const formats = {
  f32: { bits: 32, make: dense(f32) },
  f16: { bits: 16, make: dense(f16) },
  bf16: { bits: 16, make: dense(bf16) },
  u2: { bits: 2 + 32 / group, make: (seed) => affineWeights(2, seed) },
  u4: { bits: 4 + 32 / group, make: (seed) => affineWeights(4, seed) },
  u8: { bits: 8 + 32 / group, make: (seed) => affineWeights(8, seed) },
};

export async function run({ quick, say }) {
  const { bandwidthGBps } = await doctor({ threads: 1 });
  const rows = [];
  for (const [format, { bits, make }] of Object.entries(formats)) {
    const bytes = (size * size * bits) / 8;
    const tensor = make(1);
    // Copies of one matrix: each is packed apart, so that memory and not a cache is read.
    const copies = Array.from({ length: Math.ceil(beyondCaches / bytes) }, () => new PackedWeights(tensor));
    for (const activation of format.startsWith("u") ? ["float", "int8"] : ["float"]) {
      for (const n of quick ? [1, 16] : [1, 4, 16, 64]) {
        const id = `gemm/${format}-${activation}/n${n}`;
        say(id);
        const x = f32(normal(n * size, 7), [n, size]);
        const call = (i, level) => gemm({ x, w: copies[i % copies.length], activation, level });
        assertClose(call(0).data, call(0, "ref").data, 1e-4, id);
        const seconds = quick ? 0.02 : 0.1;
        const { best, ref } = await interleave(
          { best: () => perCall((i) => call(i), seconds), ref: () => perCall((i) => call(i, "ref"), seconds) },
          quick ? 3 : 7,
        );
        const limit = n === 1 ? (bytes / bandwidthGBps / 1e9) * 1e6 : undefined;
        rows.push({ id, value: best[0] * 1e6, unit: "us", baseline: ref[0] * 1e6, limit });
      }
    }
  }
  return rows;
}
