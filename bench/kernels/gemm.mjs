// gemm with all threads, a matrix of 4096 outputs by 14336 inputs: rows `gemm/FORMAT/nROWS`, microseconds per call; affine formats
// with int8 and bf16 with bf16 activations, `FORMAT-float` with float ones. The baseline is the scalar reference level on one thread. The limit
// of one row is reading the weights once, from memory: calls take several matrices in turn, more than caches hold. The limit
// of many rows is the peak of multiply-accumulates of their kind. Both are measured in this process, beside what they limit.
import { doctor } from "outrider";
import { affine, bf16, f16, f32, gemm, PackedWeights } from "outrider/ops";
import { assertClose, interleave, normal, perCall } from "../measure.mjs";

const [outputs, inputs] = [4096, 14336];
const beyondCaches = 200e6;

const bytes = (count, seed) =>
  new Uint8Array(new Uint32Array(normal(Math.ceil(count / 4), seed).buffer).buffer, 0, count);

function affineWeights(bits, group) {
  const count = (outputs * inputs) / group;
  const scale = new Uint16Array(count).fill(0x3c00 - ((bits - 1) << 10)); // f16 of 2 / 2^bits
  const zero = new Uint16Array(count).fill(0xbc00); // f16 of -1
  const codes = bytes((outputs * inputs * bits) / 8, 1);
  return affine({ bits, group, codes, scale, zero, shape: [outputs, inputs] });
}

/** 16-bit floats of magnitude 1/8 to 1 and both signs, by their bits. */
function denseWeights(make, exponents) {
  const bits = new Uint16Array(bytes(outputs * inputs * 2, 1).slice().buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] & exponents.mask) | exponents.one;
  return make(bits, [outputs, inputs]);
}

const formats = {
  "u2-g64": { bits: 2 + 32 / 64, make: () => affineWeights(2, 64) },
  "u3-g64": { bits: 3 + 32 / 64, make: () => affineWeights(3, 64) },
  "u4-g32": { bits: 4 + 32 / 32, make: () => affineWeights(4, 32) },
  "u8-g32": { bits: 8 + 32 / 32, make: () => affineWeights(8, 32) },
  f16: { bits: 16, make: () => denseWeights(f16, { mask: 0x87ff, one: 0x3000 }) },
  bf16: { bits: 16, make: () => denseWeights(bf16, { mask: 0x80ff, one: 0x3e00 }) },
};

export async function run({ quick, threads, say }) {
  const rows = [];
  for (const [format, { bits, make }] of Object.entries(formats)) {
    const size = (outputs * inputs * bits) / 8;
    const tensor = make();
    const copies = Array.from({ length: Math.ceil(beyondCaches / size) }, () => new PackedWeights(tensor));
    const rounding = format.startsWith("u") ? "int8" : format === "bf16" ? "bf16" : "float";
    for (const activation of quick || rounding === "float" ? [rounding] : [rounding, "float"]) {
      const name = activation === rounding ? format : `${format}-float`;
      for (const n of quick ? [1, 8] : [1, 2, 4, 8, 16, 64, 512]) {
        const id = `gemm/${name}/n${n}`;
        say(id);
        const x = f32(normal(n * inputs, 7), [n, inputs]);
        const call = (i) => gemm({ x, w: copies[i % copies.length], activation, threads });
        // The first rows are enough to check: a row does not depend on the others, which the contract suite proves.
        const head = f32(x.data.subarray(0, inputs), [1, inputs]);
        const reference = () => gemm({ x: head, w: copies[0], activation, level: "ref" });
        assertClose(call(0).data.subarray(0, outputs), reference().data, 1e-4, id);
        const seconds = quick ? 0.02 : 0.1;
        const { best } = await interleave({ best: () => perCall(call, seconds) }, quick ? 3 : 7);
        const { ref } = await interleave({ ref: () => perCall(reference, 0) }, 1);
        // The machine changes its speed from minute to minute: a limit is measured beside what it limits.
        let limit;
        if (n === 1) limit = size / (await doctor({ threads })).bandwidthGBps / 1e3;
        // Of vector instructions: level avx512-amx may pass it.
        if (n >= 64) {
          const peaks = await doctor({ threads });
          const peak = { int8: peaks.int8PeakGmacs, bf16: peaks.bf16PeakGmacs, float: peaks.f32PeakGmacs }[activation];
          limit = peak > 0 ? (n * outputs * inputs) / peak / 1e3 : undefined;
        }
        rows.push({ id, value: best[0] * 1e6, unit: "us", baseline: ref[0] * n * 1e6, limit });
      }
    }
  }
  return rows;
}
