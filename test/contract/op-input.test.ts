// What every op does with its argument object: rows of larger tensors are read as they are, and what is missing, misspelt or of
// the wrong kind is refused by name.
import { describe, expect, test } from "vitest";
import * as ops from "../../lib/ops/index.ts";
import { code } from "../support/errors.ts";

const { f32, i32 } = ops;

function pages(tokens: number): ops.KvPages {
  const kv = new ops.KvPages("f32", 1, 2);
  for (let i = 0; i < tokens; i++) kv.append(f32([1, i], [1, 2]), f32([i, 2 * i], [1, 2]));
  return kv;
}

describe("a row of a larger i32 matrix stands for its own elements", () => {
  const row = i32([0, 1, 99, 99], [2, 2]).row(0) as ops.Tensor<"i32", 1>;
  const own = i32([0, 1], [2]);
  const q = f32([1, 2, 3, 4], [2, 1, 2]);

  test("as positions of attention and rope", () => {
    const kv = pages(3);
    expect(ops.attention({ q, kv, positions: row }).data).toEqual(ops.attention({ q, kv, positions: own }).data);
    const frequencies = ops.ropeFrequencies({ type: "default", theta: 10000, dim: 2 });
    const turn = (positions: ops.Tensor<"i32", 1>) =>
      ops.rope({ x: f32([1, 2, 3, 4], [2, 1, 2]), positions, frequencies }).data;
    expect(turn(row)).toEqual(turn(own));
  });

  test("as tokens of embedding", () => {
    const table = f32([1, 2, 3, 4], [2, 2]);
    expect(ops.embedding({ table, tokens: row }).data).toEqual(ops.embedding({ table, tokens: own }).data);
  });

  test("as parents of a tree", () => {
    const kv = pages(3);
    const parents = i32([-1, 0, 99, 99], [2, 2]).row(0) as ops.Tensor<"i32", 1>;
    const tree = { kv: pages(2), parents };
    const same = { kv: tree.kv, parents: i32([-1, 0], [2]) };
    expect(ops.attention({ q, kv, tree }).data).toEqual(ops.attention({ q, kv, tree: same }).data);
  });
});

const call = (name: string, input?: unknown) =>
  (ops as unknown as Record<string, (input: unknown) => void>)[name](input);

test.each([
  ["activation", { kind: "silu" }, "gate"],
  ["attention", {}, "q"],
  ["embedding", { table: f32([1], [1, 1]) }, "tokens"],
  ["layernorm", {}, "x"],
  ["rmsnorm", {}, "x"],
  ["rope", { x: f32([1, 2], [1, 1, 2]) }, "positions"],
  ["softmax", {}, "x"],
  ["topk", { k: 1 }, "x"],
  ["argmax", {}, "x"],
  ["logsumexp", {}, "x"],
  ["sample", {}, "logits"],
])("%s wants an object with all its tensors", (name, input, missing) => {
  expect(() => call(name)).toThrow(code("OUTRIDER_ARGUMENT", /input, received undefined$/));
  expect(() => call(name, 5)).toThrow(code("OUTRIDER_ARGUMENT", /input, received 5$/));
  expect(() => call(name, input)).toThrow(code("OUTRIDER_SHAPE", new RegExp(`for ${missing}, received undefined$`)));
});

test("a level that this machine does not have is named beside those it has", () => {
  expect(() => ops.softmax({ x: f32([1], [1, 1]), level: "avx9" as never })).toThrow(
    code("OUTRIDER_ARGUMENT", /^Expected ref.* for level, received "avx9"$/),
  );
});

test("rope without frequencies, a tree without pages, and numbers that are none are refused by name", () => {
  const positions = i32([1], [1]);
  expect(() => ops.rope({ x: f32([1, 2], [1, 1, 2]), positions } as never)).toThrow(
    code("OUTRIDER_ARGUMENT", /frequencies, received undefined$/),
  );
  expect(() => ops.attention({ q: f32([1, 2], [1, 1, 2]), kv: pages(1), tree: {} as never })).toThrow(
    code("OUTRIDER_ARGUMENT", /for tree, received/),
  );
  const attend = { q: f32([1, 2], [1, 1, 2]), kv: pages(2), positions };
  expect(() => ops.attention({ ...attend, window: 2 ** 60 })).toThrow(code("OUTRIDER_ARGUMENT", /window, received/));
});

test.each([
  ["theta", { theta: Number.NaN }],
  ["dim", { dim: "64" }],
  ["factor", { type: "linear", factor: Number.NaN }],
  ["lowFrequencyFactor", { type: "llama3", originalContext: 64, lowFrequencyFactor: Number.NaN }],
  ["highFrequencyFactor", { type: "llama3", originalContext: 64, lowFrequencyFactor: 2, highFrequencyFactor: 1 }],
  ["originalContext", { type: "yarn", originalContext: Number.NaN }],
  ["betaSlow", { type: "yarn", originalContext: 64, betaSlow: Number.NaN }],
  ["betaFast", { type: "yarn", originalContext: 64, betaFast: 0 }],
  ["attentionFactor", { type: "yarn", originalContext: 64, attentionFactor: Number.POSITIVE_INFINITY }],
  ["mscale", { type: "yarn", originalContext: 64, mscale: Number.NaN, mscaleAllDim: 1 }],
])("ropeFrequencies refuses a bad %s", (name, parameters) => {
  const all = { type: "default", theta: 10000, dim: 64, ...parameters } as ops.RopeParameters;
  expect(() => ops.ropeFrequencies(all)).toThrow(code("OUTRIDER_ARGUMENT", new RegExp(`for ${name}, received`)));
});

test("sample refuses misspelt options and says what topK may be", () => {
  const logits = f32([1, 2], [2]);
  expect(() => ops.sample({ logits, temprature: 1 } as never)).toThrow(
    code("OUTRIDER_ARGUMENT", /received "temprature"$/),
  );
  expect(() => ops.sample({ logits, topK: 2 ** 31 })).toThrow(
    code("OUTRIDER_ARGUMENT", /from 0 to 2147483647 for topK/),
  );
});
