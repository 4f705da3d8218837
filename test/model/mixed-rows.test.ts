// Rows of the engine batch that are mixes of tokens: to the bit what they should be where that is known, near the float64 sum elsewhere.
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Runtime } from "../../lib/model/runtime.ts";
import { want } from "../../lib/native.ts";
import { expectClose, tiny, unit } from "../support/close.ts";
import { code } from "../support/errors.ts";
import { uniform } from "../support/random.ts";
import { openRuntime } from "../support/runtime.ts";
import { sharedDir } from "../support/shared.ts";
import { tinyModel } from "../support/tiny.ts";

const shared = sharedDir();
const models: [name: string, folder: string][] = [
  ["u8 weights", tinyModel],
  ...(shared
    ? ([["f32 weights, scaled embeddings (gemma2)", path.join(shared, "golden/families/gemma2")]] as [string, string][])
    : []),
];

const bytesOf = (values: Float32Array = new Float32Array()) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

describe.each(models)("%s", (_, folder) => {
  let runtime: Runtime;
  beforeAll(async () => {
    runtime = await openRuntime(folder);
  });
  afterAll(() => runtime.dispose());

  const next = uniform(5);
  const drawn = (count: number) => Int32Array.from({ length: count }, () => Math.floor(next() * runtime.spec.vocab));
  const rowsOf = (count: number, wanted: number) => ({
    sequence: new Int32Array(count),
    wants: new Uint8Array(count).fill(wanted),
    caches: [runtime.newCache()],
  });

  /** J columns a row: the token at a random place with weight 1, others with weight 0. */
  function lone(tokens: Int32Array, J: number) {
    const mix = drawn(tokens.length * J);
    const mixWeights = new Float32Array(mix.length);
    for (const [row, token] of tokens.entries()) {
      const at = row * J + Math.floor(next() * J);
      [mix[at], mixWeights[at]] = [token, 1];
    }
    return { mix, mixWeights };
  }

  test.each([1, 3, 64])("one token of weight 1 among %i has the bits of that token", async (J) => {
    const tokens = drawn(300); // more than a chunk of rows
    const { logits } = await runtime.step({ ...rowsOf(300, want.logits), tokens });
    const mixed = await runtime.step({ ...rowsOf(300, want.logits), ...lone(tokens, J) });
    expect(logits?.every(Number.isFinite)).toBe(true);
    expect(Buffer.compare(bytesOf(mixed.logits), bytesOf(logits))).toBe(0);
  });

  test("in a tree too, which can be committed", async () => {
    const tokens = drawn(6);
    const tree = { scratch: true, parents: Int32Array.of(-1, 0, 0, 2, 1, 3) };
    const plain = { ...rowsOf(6, want.logits), ...tree };
    const mixed = { ...rowsOf(6, want.logits), ...tree };
    const { logits } = await runtime.step({ ...plain, tokens });
    expect((await runtime.step({ ...mixed, ...lone(tokens, 2) })).logits).toEqual(logits);
    mixed.caches[0].commit([0, 2, 3]);
    plain.caches[0].commit([0, 2, 3]);
    const behind = (cache: (typeof plain.caches)[0]) =>
      runtime.step({ ...rowsOf(1, want.logits), caches: [cache], tokens: tokens.slice(5) });
    expect((await behind(mixed.caches[0])).logits).toEqual((await behind(plain.caches[0])).logits);
  });

  test("a mix is the weighted sum of embeddings, and has the logits of that sum", async () => {
    const { hidden } = runtime.spec;
    const [rows, J] = [40, 5];
    const mix = drawn(rows * J);
    const mixWeights = Float32Array.from(mix, (_token, i) => (i % 7 === 3 ? 0 : next() * 3 - 1));
    const input = await runtime.step({ ...rowsOf(rows, want.hidden), mix, mixWeights, layerEnd: 0 });
    const parts = await runtime.step({ ...rowsOf(mix.length, want.hidden), tokens: mix, layerEnd: 0 });
    const value = new Float64Array(rows * hidden);
    const tolerance = new Float64Array(rows * hidden).fill(tiny);
    const rounded = (J + 3) * unit; // products, sums and the scale of the family, which each part has too
    for (let i = 0; i < mix.length; i++) {
      for (let k = 0; k < hidden; k++) {
        const at = Math.floor(i / J) * hidden + k;
        const term = mixWeights[i] * (parts.hidden?.[i * hidden + k] ?? Number.NaN);
        value[at] += term;
        tolerance[at] += rounded * Math.abs(term);
      }
    }
    expectClose(input.hidden ?? [], { value, tolerance }, "mixed rows");
    const whole = await runtime.step({ ...rowsOf(rows, want.logits), mix, mixWeights });
    const { logits } = await runtime.step({ ...rowsOf(rows, want.logits), embeddings: input.hidden });
    expect(whole.logits).toEqual(logits);
    expect(logits?.every(Number.isFinite)).toBe(true);
  });

  test("what is no mix is refused, and the cache is as before", async () => {
    const { vocab, hidden, layers } = runtime.spec;
    const good = { mix: Int32Array.of(1, 2, 3, 4), mixWeights: Float32Array.of(1, 0, 0.5, 0.5) };
    const plain = rowsOf(2, want.logits);
    const many = { mix: new Int32Array(130), mixWeights: new Float32Array(130) };
    const columns = /as many tokens in each row of a mix, at most 64, and a weight for each/;
    for (const [what, message] of [
      [{ mix: Int32Array.of(1, 2, 3) }, columns],
      [{ mix: Int32Array.of(1, 2, 3), mixWeights: new Float32Array(3) }, columns],
      [{ mixWeights: new Float32Array(3) }, columns],
      [{ mixWeights: undefined }, columns],
      [many, columns],
      [{ mix: Int32Array.of(1, 2, 3, vocab) }, /within the vocabulary/],
      [{ mix: Int32Array.of(1, -1, 3, 4) }, /within the vocabulary/],
      [{ mixWeights: Float32Array.of(1, Number.NaN, 0, 0) }, /finite weights/],
      [{ mixWeights: Float32Array.of(1, Number.POSITIVE_INFINITY, 0, 0) }, /finite weights/],
      [{ tokens: Int32Array.of(1, 2) }, /more than one of them/],
      [{ embeddings: new Float32Array(2 * hidden) }, /more than one of them/],
      [{ layerBegin: 1 }, /does not start at layer 0/],
      [{ mix: undefined }, /one token or one embedding|a weight for each/],
      [{ repeat: 2, wants: Uint8Array.of(0, want.sample) }, /sampler|repeats/],
    ] as const) {
      await expect(runtime.step({ ...plain, ...good, ...what })).rejects.toEqual(code("OUTRIDER_ARGUMENT", message));
    }
    const odd = { ...plain, ...good, mix: new Float32Array(4) as unknown as Int32Array };
    await expect(runtime.step(odd)).rejects.toEqual(code("OUTRIDER_ARGUMENT"));
    expect(plain.caches[0].length).toBe(0);
    const { logits } = await runtime.step({ ...plain, ...good, layerEnd: layers.length });
    expect(logits?.length).toBe(2 * vocab);
  });
});
