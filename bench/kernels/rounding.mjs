// What rounding activations costs and saves, 4096 outputs by 4096 inputs with some outliers: rows `rounding/FORMAT/int8` and
// `rounding/FORMAT/two-pass` are the error of the outputs relative to their root mean square, of int8 activations and of int8 activations
// plus the int8 of what they left (as the high and the low half of 15 bits). `rounding/FORMAT/int8-n1` and `-n64` are microseconds of one
// and of 64 rows; the baseline of `two-pass-nN` is that, its value the same with the dot products of two passes.
import { affine, f32, gemm } from "outrider/ops";
import { interleave, normal, perCall } from "../measure.mjs";

const [outputs, inputs] = [4096, 4096];

function weights(bits, group) {
  const random = new Uint32Array(normal((outputs * inputs * bits) / 32, 3).buffer);
  const count = (outputs * inputs) / group;
  const half = 2 ** bits / 2;
  return affine({
    ...{ bits, group, shape: [outputs, inputs], codes: new Uint8Array(random.buffer) },
    scale: new Float32Array(count).fill(1 / half),
    zero: new Float32Array(count).fill(0.5 / half - 1),
  });
}

/** x minus what its int8 form says, group by group, as native/ops/gemm/gemm.h defines it. */
function residual(x, group) {
  const rest = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += group) {
    const part = x.subarray(from, from + group);
    const top = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const [inverse, step] = [Math.fround(127 / top), Math.fround(top / 127)];
    part.forEach((value, i) => {
      rest[from + i] = value - Math.round(Math.fround(value * inverse)) * step;
    });
  }
  return rest;
}

const rms = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

export async function run({ quick, threads, say }) {
  const rows = [];
  for (const [format, bits, group] of [
    ["u2-g64", 2, 64],
    ["u4-g32", 4, 32],
  ]) {
    say(`rounding/${format}`);
    const w = weights(bits, group);
    const values = normal(inputs, 5).map((value, i) => (i % 97 === 0 ? value * 12 : value));
    const x = f32(values, [1, inputs]);
    const rest = f32(residual(values, group), [1, inputs]);
    const exact = gemm({ x, w, activation: "float", threads }).data;
    const int8 = gemm({ x, w, activation: "int8", threads }).data;
    const low = gemm({ x: rest, w, activation: "int8", threads }).data;
    const error = (of) => rms(exact.map((value, i) => of(i) - value)) / rms(exact);
    rows.push(
      { id: `rounding/${format}/int8`, value: error((i) => int8[i]), unit: "of the output" },
      { id: `rounding/${format}/two-pass`, value: error((i) => int8[i] + low[i]), unit: "of the output" },
    );
    for (const n of [1, 64]) {
      // Two passes are the dot products of twice as many rows.
      const of = (count) => f32(normal(count * inputs, 7), [count, inputs]);
      const [once, twice] = [of(n), of(2 * n)];
      const { one, two } = await interleave(
        {
          one: () => perCall(() => gemm({ x: once, w, activation: "int8", threads }), 0.05),
          two: () => perCall(() => gemm({ x: twice, w, activation: "int8", threads }), 0.05),
        },
        quick ? 3 : 9,
      );
      rows.push(
        { id: `rounding/${format}/int8-n${n}`, value: one[0] * 1e6, unit: "us" },
        { id: `rounding/${format}/two-pass-n${n}`, value: two[0] * 1e6, unit: "us", baseline: one[0] * 1e6 },
      );
    }
  }
  return rows;
}
