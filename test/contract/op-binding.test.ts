// The entry points below lib/ops with arguments that no type allows: an OutriderError each time, and no access out of bounds.
import { expect, test } from "vitest";
import { OutriderError } from "../../lib/errors.ts";
import { nativeOps } from "../../lib/ops/native-ops.ts";
import { uniform } from "../support/random.ts";

const floats = (n: number) => new Float32Array(n);
const codes = ["OUTRIDER_ARGUMENT", "OUTRIDER_SHAPE", "OUTRIDER_MEMORY"];

function refused(call: () => unknown, what: string): void {
  let error: unknown;
  try {
    call();
  } catch (thrown) {
    error = thrown;
  }
  expect(error, what).toBeInstanceOf(OutriderError);
  expect(codes, what).toContain((error as OutriderError).code);
}

// Arguments that work, per entry point; the tests break them one at a time.
const valid: Record<string, () => unknown[]> = {
  rmsnorm: () => [floats(6), floats(3), floats(6), 2, 3, 3, 1e-6, "ref"],
  layernorm: () => [floats(6), floats(3), floats(3), floats(6), 2, 3, 1e-6, "ref"],
  rope: () => [floats(24), new Int32Array(2), floats(2), 2, 3, 4, 2, 1, false, "ref"],
  activation: () => ["silu", floats(4), floats(4), floats(4), 4, "ref"],
  softmax: () => [floats(6), floats(6), 2, 3, 1, 0, "ref"],
  topk: () => [floats(6), new Int32Array(4), floats(4), floats(2), 2, 3, 3, 2, "ref"],
  widen: () => [new Uint16Array(3), "f16"],
  sampleUniform: () => [1n, 2, 3],
  decodeGguf: () => ["q4_0", new Uint8Array(36), 32],
};
const call = (name: string, args: unknown[]) =>
  (nativeOps as unknown as Record<string, (...args: unknown[]) => unknown>)[name](...args);

for (const [name, make] of Object.entries(valid)) {
  test(`${name}: arguments of every wrong kind`, () => {
    call(name, make());
    const wrong = [
      null,
      "x",
      {},
      [],
      -1,
      0.5,
      Number.NaN,
      2 ** 53 - 1,
      1e300,
      new Float64Array(100),
      floats(1),
      Symbol("s"),
    ];
    for (let at = 0; at < make().length; at++) {
      for (const value of wrong) {
        const args = make();
        args[at] = value;
        let error: unknown;
        try {
          call(name, args); // some are allowed: null for an absent weight, a number for a factor
        } catch (thrown) {
          error = thrown;
        }
        if (error !== undefined) expect(codes, `${name} ${at}`).toContain((error as OutriderError).code);
      }
    }
    refused(() => call(name, []), "no arguments");
  });

  test(`${name}: arrays that are short or detached`, () => {
    for (const [at, value] of make().entries()) {
      if (!ArrayBuffer.isView(value)) continue;
      const array = value as Float32Array;
      const short = make();
      short[at] = array.subarray(1);
      if (name !== "widen") refused(() => call(name, short), `short ${at}`);
      const gone = make();
      structuredClone(gone[at], { transfer: [(gone[at] as Float32Array).buffer as ArrayBuffer] });
      if (name !== "widen" && name !== "decodeGguf") refused(() => call(name, gone), `detached ${at}`);
    }
  });
}

test("sizes that overflow are refused before any array is touched", () => {
  const big = 2 ** 52;
  refused(() => call("softmax", [floats(4), floats(4), big, big, 1, 0]), "softmax");
  refused(() => call("rope", [floats(4), new Int32Array(1), floats(1), big, big, big, 1, 1, false]), "rope");
  refused(() => call("topk", [floats(4), new Int32Array(1), floats(1), null, big, 4, big, 1]), "topk");
  refused(() => call("rmsnorm", [floats(4), null, floats(4), 2, 4, 0, 0]), "overlapping rows");
});

test("levels: those of the machine, by name", () => {
  expect(nativeOps.opLevels("gemm")).toContain("ref");
  refused(() => nativeOps.opLevels("no such op"), "op");
  refused(() => call("softmax", [floats(4), floats(4), 1, 4, 1, 0, "avx1024"]), "level");
});

test("sample: options of every wrong kind", () => {
  const options = () => ({
    temperature: 1,
    topK: 3,
    topP: 0.9,
    minP: 0.01,
    typicalP: 0.9,
    repetitionPenalty: 1.1,
    frequencyPenalty: 0.1,
    presencePenalty: 0.1,
    seed: 1n,
    position: 0,
    history: Int32Array.of(1, 2),
    biasIds: Int32Array.of(0),
    bias: Float32Array.of(1),
    suppressed: Int32Array.of(1),
  });
  const logits = Float32Array.of(1, 2, 3, 4);
  expect(call("sample", [logits, options()])).toBeLessThan(4);
  const wrong = [null, "x", {}, -1, 0.5, Number.NaN, 1e300, -1e300, floats(2), Int32Array.of(-1), Int32Array.of(4), 5n];
  for (const name of Object.keys(options())) {
    for (const value of wrong) {
      try {
        const token = call("sample", [logits, { ...options(), [name]: value }]);
        expect(token).toBeGreaterThanOrEqual(0);
        expect(token).toBeLessThan(4);
      } catch (error) {
        expect(error, `${name}`).toBeInstanceOf(OutriderError);
      }
    }
  }
  refused(() => call("sample", [floats(0), options()]), "no logits");
});

test("sample: any mixture of numbers and filters picks a token of the row or refuses", () => {
  const next = uniform(3);
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e38, -1e38, 1e-45];
  const pick = () => (next() < 0.3 ? odd[Math.floor(next() * odd.length)] : (next() - 0.5) * 10);
  for (let i = 0; i < 3000; i++) {
    const V = 1 + Math.floor(next() * 40);
    const logits = Float32Array.from({ length: V }, pick);
    const numbers = Object.fromEntries(
      ["temperature", "topP", "minP", "typicalP", "repetitionPenalty", "frequencyPenalty", "presencePenalty"].map(
        (name) => [name, next() < 0.5 ? 0.5 : pick()],
      ),
    );
    const options = { ...numbers, topK: Math.floor(next() * 10), seed: BigInt(i), position: i };
    try {
      const token = call("sample", [
        logits,
        { ...options, history: Int32Array.of(0, 1), suppressed: Int32Array.of(0) },
      ]);
      expect(token).toBeGreaterThanOrEqual(0);
      expect(token).toBeLessThan(V);
    } catch (error) {
      expect((error as OutriderError).code).toBe("OUTRIDER_ARGUMENT");
    }
  }
});
