import { describe, expect, test } from "vitest";
import { bf16, f32, opLevels, type SampleInput, sample, sampleDraws, sampleUniform } from "../../lib/ops/index.ts";
import { chiSquare, chiSquareLimit } from "../support/chi-square.ts";
import { normal, uniform } from "../support/random.ts";
import { adjusted, draw, drawOrder, type ReferenceInput, survivors, uniformOf } from "../support/sampler.ts";

type Options = Omit<SampleInput, "logits">;
const tokenOf = (input: ReferenceInput) => sample({ ...input, logits: f32(input.logits, [input.logits.length]) });

/** Draws at positions 0 to count - 1, counted per token. */
function count(input: ReferenceInput, draws: number): number[] {
  const logits = f32(input.logits, [input.logits.length]);
  const counts = new Array<number>(input.logits.length).fill(0);
  for (let position = 0; position < draws; position++) counts[sample({ ...input, logits, position })] += 1;
  return counts;
}

test("the uniform of (seed, position, token)", () => {
  const next = uniform(1);
  for (let i = 0; i < 200; i++) {
    const [seed, position, token] = [BigInt(Math.floor(next() * 2 ** 52)) * 4093n, Math.floor(next() * 1e6), i * 700];
    expect(sampleUniform(seed, position, token)).toBe(
      uniformOf(seed & ((1n << 64n) - 1n), BigInt(position), BigInt(token)),
    );
  }
  expect(sampleUniform(-1, 0, 0)).toBe(sampleUniform((1n << 64n) - 1n, 0, 0));
});

// Each row: options, and what to draw from. Every filter alone, then together.
const cases: [string, Options][] = [
  ["greedy", {}],
  ["temperature", { temperature: 0.7 }],
  ["high temperature", { temperature: 3 }],
  ["topK", { temperature: 1, topK: 5 }],
  ["topK 1", { temperature: 1, topK: 1 }],
  ["topK above V", { temperature: 1, topK: 100000 }],
  ["topP", { temperature: 1, topP: 0.8 }],
  ["small topP", { temperature: 1, topP: 1e-6 }],
  ["minP", { temperature: 1, minP: 0.1 }],
  ["minP 1", { temperature: 1, minP: 1 }],
  ["typicalP", { temperature: 1, typicalP: 0.6 }],
  ["all filters", { temperature: 0.9, topK: 30, typicalP: 0.95, topP: 0.9, minP: 0.02 }],
];
const penalties: Options = {
  history: Int32Array.of(3, 1, 3, 0, 3, 2, -1, 4000),
  repetitionPenalty: 1.3,
  frequencyPenalty: 0.4,
  presencePenalty: 0.25,
  logitBias: new Map([
    [1, 2.5],
    [5, Number.NEGATIVE_INFINITY],
  ]),
  suppressed: Int32Array.of(0, 7),
};

/** Input number i of V logits, every other one with penalties. */
const inputOf = (V: number, i: number, options: (typeof cases)[number][1]) => ({
  logits: normal(V, i, 2.5),
  ...options,
  ...(i % 2 ? penalties : {}),
  seed: i * 31,
  position: i * i,
});

describe("whole vocabularies: the token and the first draws are the reference's on every level", () => {
  const V = 32_003; // not a whole number of vectors or blocks
  /** Logits as models have them: a few stand out from a broad rest. */
  const likely = (seed: number) => {
    const logits = normal(V, seed, 2.5);
    for (const [i, more] of normal(40, seed + 1, 6).entries()) logits[(i * 797 + seed) % V] += Math.abs(more);
    return logits;
  };
  const flat = (seed: number) => normal(V, seed, 0.01);
  const options: [string, Options][] = [
    ["greedy", {}],
    ["temperature", { temperature: 0.8 }],
    ["a very low temperature", { temperature: 1e-4 }],
    ["a very high temperature", { temperature: 50 }],
    ["topK", { temperature: 1, topK: 40 }],
    ["more topK than are listed", { temperature: 1, topK: 300 }],
    ["topP", { temperature: 0.9, topP: 0.9 }],
    ["topP of nearly all", { temperature: 1.5, topP: 0.999999 }],
    ["minP", { temperature: 1, minP: 0.05 }],
    ["a tiny minP", { temperature: 1, minP: 1e-9 }],
    ["typicalP", { temperature: 0.8, typicalP: 0.9 }],
    ["filters together", { temperature: 0.9, topK: 50, typicalP: 0.95, topP: 0.9, minP: 0.02 }],
    ["topP and minP", { temperature: 1.2, topP: 0.95, minP: 0.01 }],
    ["penalties and bias", { ...penalties, temperature: 0.8 }],
  ];
  test("all levels of scans are there", () => {
    expect(opLevels("sample")).toEqual(opLevels("topk"));
  });
  test.each(options)("%s", (_, how) => {
    for (const [i, logits] of [likely(1), flat(2)].entries()) {
      const input = { logits, ...how, seed: 7 + i, position: 1000 * i + 3 };
      const order = drawOrder(input).slice(0, 64);
      const tensor = f32(logits, [V]);
      for (const level of opLevels("sample")) {
        expect(sample({ ...input, logits: tensor, level }), level).toBe(order[0].id);
        for (const count of [1, 7, 64]) {
          const { tokens, logq } = sampleDraws({ ...input, logits: tensor, level }, count);
          const wanted = Array.from({ length: count }, (_, k) => order[k]?.id ?? -1);
          expect([...tokens], `${level}, ${count} draws`).toEqual(wanted);
          // Sums of 32,003 terms in double, in another order, and exponentials of two libraries.
          const apart = Array.from({ length: Math.min(count, order.length) }, (_, k) =>
            Math.abs(logq[k] - order[k].logq),
          );
          expect(Math.max(...apart)).toBeLessThan(1e-10);
        }
      }
    }
  });
  // Where floats are too coarse for the scans: the law is then that of few tokens, or of all alike.
  test.each([1e-6, 1e-15, 1e-30, 1e-40, 1e20, 1e38])("temperature %s", (temperature) => {
    const logits = likely(4);
    const close = logits.map((_, id) => 5 - 1e-7 * (id % 7));
    const huge = logits.map((x) => x * 1e37);
    for (const [i, some] of [logits, close, huge, Float32Array.of(5, 3, 1, 0, -1)].entries()) {
      for (let position = 0; position < 3; position++) {
        const input = { logits: some, temperature, seed: 3 + i, position };
        const order = drawOrder(input).slice(0, 64);
        for (const level of opLevels("sample")) {
          for (const count of [1, 2, 5, 64].filter((one) => one <= some.length)) {
            const { tokens } = sampleDraws({ ...input, logits: f32(some, [some.length]), level }, count);
            expect([...tokens], `${level}, case ${i}, ${count} draws`).toEqual(
              order.slice(0, count).map(({ id }) => id),
            );
          }
        }
      }
    }
  });
  test("logits that are no numbers, all over a vocabulary", () => {
    const logits = likely(3).map((x, i) => (i % 3 === 0 ? Number.NaN : i % 3 === 1 ? Number.NEGATIVE_INFINITY : x));
    const some = logits.filter((x) => x > Number.NEGATIVE_INFINITY);
    for (const how of [{ temperature: 0.8 }, { temperature: 1, topP: 0.9 }, { temperature: 1, minP: 0.01 }])
      for (const level of opLevels("sample")) {
        const { tokens, logq } = sampleDraws({ ...how, logits: f32(logits, [V]), seed: 5, level }, 40);
        const best = logits.indexOf(Math.max(...some));
        expect(tokens.every((id) => id === -1 || id % 3 === 2)).toBe(true);
        expect(logq[tokens.indexOf(best)] ?? 0).toBeLessThanOrEqual(0);
        expect(Number.isFinite(logq[0])).toBe(true);
      }
  });
});

describe.each(cases)("%s", (_, options) => {
  test("every token equals the reference's", () => {
    for (const [V, repeats] of [
      [9, 60],
      [300, 60],
      [3000, 8],
    ]) {
      for (let i = 0; i < repeats; i++) {
        const input = inputOf(V, i, options);
        expect(tokenOf(input), `V ${V}, case ${i}`).toBe(draw(input));
      }
    }
  });

  test("the first draws without replacement equal the reference's, and the first of them is the token", () => {
    for (const [V, repeats] of [
      [9, 40],
      [300, 40],
      [3000, 4],
    ]) {
      for (let i = 0; i < repeats; i++) {
        const input = inputOf(V, i, options);
        const order = drawOrder(input);
        for (const count of [1, 2, 5, 9, Math.min(V, 64)]) {
          const { tokens, logq, values } = sampleDraws({ ...input, logits: f32(input.logits, [V]) }, count);
          const what = `V ${V}, case ${i}, ${count} draws`;
          expect(tokens[0], what).toBe(tokenOf(input));
          for (let k = 0; k < count; k++) {
            const {
              id,
              logq: q,
              value,
            } = order[k] ?? { id: -1, logq: Number.NEGATIVE_INFINITY, value: Number.NEGATIVE_INFINITY };
            expect(tokens[k], what).toBe(id);
            // Sums of up to 3000 terms in double, in another order, and logarithms of two libraries.
            const near = (found: number, wanted: number) => found === wanted || Math.abs(found - wanted) < 1e-11;
            expect(near(logq[k], q) && near(values[k], value), `${what}: draw ${k}`).toBe(true);
          }
        }
      }
    }
  });

  test("exactly the survivors of the filters are drawn", () => {
    // Nearly flat logits: each cut-off lies among tokens that are drawn often, so one token more or less shows.
    for (let i = 0; i < 4; i++) {
      const input = { logits: normal(30, i, 0.3), seed: i, ...options };
      const drawn = count(input, 1500).flatMap((times, id) => (times > 0 ? [id] : []));
      const kept = survivors(input).map(({ id }) => id);
      expect(drawn).toEqual(kept.sort((a, b) => a - b));
    }
  });

  test("draws follow the distribution (chi-square)", () => {
    for (const extra of [{}, penalties]) {
      const input = { logits: normal(12, 5, 1.5), seed: 99, ...options, ...extra };
      const counts = count(input, 8000);
      const probabilities = new Array<number>(12).fill(0);
      for (const { id, probability } of survivors(input)) probabilities[id] = probability;
      counts.forEach((seen, id) => {
        if (probabilities[id] === 0) expect(seen, `token ${id} was filtered out`).toBe(0);
      });
      const { value, df } = chiSquare(counts, probabilities);
      expect(value).toBeLessThan(chiSquareLimit(df));
    }
  });
});

describe("randomness", () => {
  const logits = f32(normal(4, 8), [4]);
  const probabilities = survivors({ logits: normal(4, 8), temperature: 1 });
  const p = [0, 1, 2, 3].map((id) => probabilities.find((token) => token.id === id)?.probability ?? 0);
  const joint = p.flatMap((a) => p.map((b) => a * b));
  const pairs = (at: (i: number, side: number) => Options) => {
    const counts = new Array<number>(16).fill(0);
    for (let i = 0; i < 8000; i++) {
      const [a, b] = [0, 1].map((side) => sample({ logits, temperature: 1, ...at(i, side) }));
      counts[4 * a + b] += 1;
    }
    return chiSquare(counts, joint);
  };

  test("neighbouring positions are independent", () => {
    const { value, df } = pairs((i, side) => ({ seed: 1, position: 2 * i + side }));
    expect(value).toBeLessThan(chiSquareLimit(df));
  });

  test("neighbouring seeds are independent", () => {
    const { value, df } = pairs((i, side) => ({ seed: 2 * i + side, position: 0 }));
    expect(value).toBeLessThan(chiSquareLimit(df));
  });

  test("the chi-square test can fail", () => {
    const counts = count({ logits: normal(4, 8), temperature: 1.3 }, 8000);
    const { value, df } = chiSquare(counts, p);
    expect(value).toBeGreaterThan(chiSquareLimit(df));
  });

  test("a draw depends on nothing else, not even on impossible tokens", () => {
    for (let position = 0; position < 100; position++) {
      const plain = sample({ logits, temperature: 1, seed: 5, position });
      expect(sample({ logits, temperature: 1, seed: 5n, position })).toBe(plain);
      const more = f32([...logits.data, Number.NEGATIVE_INFINITY, Number.NaN, -1e30], [7]);
      expect(sample({ logits: more, temperature: 1, seed: 5, position })).toBe(plain);
    }
  });
});

test("draws without replacement: counts out of range, ties and tokens that are never drawn", () => {
  const argument = expect.objectContaining({ code: "OUTRIDER_ARGUMENT" });
  const logits = f32([1, 4, Number.NaN, 4, Number.NEGATIVE_INFINITY], [5]);
  for (const count of [0, 6, 1.5, Number.NaN]) expect(() => sampleDraws({ logits }, count)).toThrow(argument);
  expect(() => sampleDraws({ logits: f32(normal(65, 1, 1), [65]) }, 65)).toThrow(argument);
  expect(() => sampleDraws({ logits: f32([Number.NaN], [1]) }, 1)).toThrow(argument);
  expect([...sampleDraws({ logits }, 5).tokens]).toEqual([1, 3, 0, -1, -1]);
  const { tokens, logq, values } = sampleDraws({ logits, temperature: 0.5, seed: 3 }, 5);
  expect([...tokens].slice(0, 3).sort()).toEqual([0, 1, 3]);
  expect([...tokens, ...logq, ...values].filter((_, i) => i % 5 > 2)).toEqual([
    ...[-1, -1],
    ...new Array(4).fill(Number.NEGATIVE_INFINITY),
  ]);
});

test("the second draw follows the law without the first (chi-square)", () => {
  const input = { logits: normal(6, 3, 1.2), temperature: 0.9, seed: 12 };
  const q = new Array<number>(6).fill(0);
  for (const { id, probability } of survivors(input)) q[id] = probability;
  const counts = new Array<number>(36).fill(0);
  for (let position = 0; position < 20000; position++) {
    const { tokens } = sampleDraws({ ...input, logits: f32(input.logits, [6]), position }, 2);
    counts[6 * tokens[0] + tokens[1]] += 1;
  }
  const joint = q.flatMap((a, i) => q.map((b, j) => (i === j ? 0 : (a * b) / (1 - a))));
  const { value, df } = chiSquare(counts, joint);
  expect(value).toBeLessThan(chiSquareLimit(df));
  expect(q.map((_, i) => counts[7 * i])).toEqual(new Array(6).fill(0));
});

test("penalties: counts, both signs, ids outside the vocabulary, logits left as they were", () => {
  const logits = Float32Array.of(2, -1, 1.5, 1.6);
  const before = logits.slice();
  const history = Int32Array.of(0, 0, 0, 3, 99, -5);
  expect(tokenOf({ logits })).toBe(0);
  expect(tokenOf({ logits, history, repetitionPenalty: 1.2 })).toBe(0); // 2 / 1.2 = 1.67
  expect(tokenOf({ logits, history, repetitionPenalty: 1.4 })).toBe(2); // 1.43 and 1.14 against 1.5
  expect(tokenOf({ logits, history, frequencyPenalty: 0.15 })).toBe(0); // 2 - 0.45 = 1.55, 1.6 - 0.15 = 1.45
  expect(tokenOf({ logits, history, frequencyPenalty: 0.2 })).toBe(2);
  expect(tokenOf({ logits, history, presencePenalty: 0.3 })).toBe(0);
  expect(adjusted({ logits, history: Int32Array.of(1), repetitionPenalty: 2 })[1]).toBe(-2);
  expect(logits).toEqual(before);
});

test("ties go to the lowest id; NaN and -Infinity are never drawn", () => {
  expect(tokenOf({ logits: Float32Array.of(1, 4, 4, 4) })).toBe(1);
  expect(tokenOf({ logits: Float32Array.of(Number.NaN, 1, Number.NaN) })).toBe(1);
  const logits = Float32Array.of(Number.NaN, 0, Number.NEGATIVE_INFINITY, 0.5);
  for (const options of [{}, { topP: 0.99 }, { typicalP: 0.99 }, { topK: 3 }, { minP: 0.01 }]) {
    const counts = count({ logits, temperature: 5, ...options }, 300);
    expect(counts[0] + counts[2]).toBe(0);
  }
  expect(sample({ logits: bf16([1, 3, 2], [3]) })).toBe(1);
});

test("minP 1 keeps every token as likely as the likeliest", () => {
  const counts = count({ logits: Float32Array.of(2, 1, 2, 1.999), temperature: 1, minP: 1 }, 200);
  expect(counts.map((times) => times > 0)).toEqual([true, false, true, false]);
});

test("no finite logit and options out of range are refused", () => {
  const argument = expect.objectContaining({ code: "OUTRIDER_ARGUMENT" });
  const infinite = Number.POSITIVE_INFINITY;
  for (const bad of [
    [-infinite, -infinite],
    [Number.NaN, Number.NaN],
    [0, infinite],
  ]) {
    expect(() => tokenOf({ logits: Float32Array.from(bad), temperature: 1 })).toThrow(argument);
  }
  const logits = Float32Array.of(1, 2);
  expect(() => tokenOf({ logits, suppressed: Int32Array.of(0, 1) })).toThrow(argument);
  const wrong: Options[] = [
    { temperature: -1 },
    { temperature: Number.NaN },
    { temperature: infinite },
    { topK: -1 },
    { topK: 1.5 },
    { topP: 0 },
    { topP: 1.1 },
    { minP: 2 },
    { typicalP: 0 },
    { repetitionPenalty: 0 },
    { frequencyPenalty: Number.NaN },
    { seed: 0.5 },
    { position: -1 },
    { suppressed: Int32Array.of(2) },
    { logitBias: new Map([[-1, 0]]) },
    { logitBias: new Map([[0, Number.NaN]]) },
  ];
  for (const options of wrong) expect(() => tokenOf({ logits, ...options }), JSON.stringify(options)).toThrow(argument);
  expect(() => tokenOf({ logits: new Float32Array(0) })).toThrow();
});
