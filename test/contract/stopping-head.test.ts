// What stopping heads say of states, on every level, against float64.
import { describe, expect, test } from "vitest";
import { native } from "../../lib/native.ts";
import { opLevels } from "../../lib/ops/index.ts";
import { expectClose, expectNaN } from "../support/close.ts";
import { code } from "../support/errors.ts";
import { normal } from "../support/random.ts";
import { expectedAcceptance, randomHead, sureHead } from "../support/stopping-head.ts";

const rows = 7;

describe.each(opLevels("gemm"))("stopping heads on %s", (level) => {
  test.each([0, 1, 3, 16])("%i blocks, odd sizes", (blocks) => {
    for (const hidden of [1, 2, 7, 16, 33, 100, 257]) {
      const head = randomHead(hidden, blocks, 100 * blocks + hidden);
      const states = normal(rows * hidden, hidden, 2);
      const found = new native.NativeStoppingHead(head).acceptance(states, level);
      const wanted = expectedAcceptance(head, states);
      expectClose(found, wanted, `hidden ${hidden}`);
      // A tolerance that lets anything pass would prove nothing.
      expect(Math.max(...Array.from(wanted.tolerance))).toBeLessThan(0.01);
      if (hidden >= 16 && blocks <= 3) expect(new Set(found).size).toBe(rows);
    }
  });

  test("the sure ones are exactly sure, large values overflow to one of them, and NaN and infinity are NaN", () => {
    const states = normal(rows * 20, 1);
    for (const accept of [true, false])
      expect([...new native.NativeStoppingHead(sureHead(20, accept)).acceptance(states, level)]).toEqual(
        new Array(rows).fill(accept ? 1 : 0),
      );
    const head = randomHead(20, 2, 5);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const spoilt = states.slice();
      spoilt[3 * 20 + 11] = bad;
      const found = new native.NativeStoppingHead(head).acceptance(spoilt, level);
      expectNaN(found.subarray(3, 4), `a state with ${bad}`);
      const others = (values: Float32Array) => [...values.subarray(0, 3), ...values.subarray(4)];
      expect(others(found)).toEqual(others(new native.NativeStoppingHead(head).acceptance(states, level)));
    }
  });
});

test("a head keeps its weights: the arrays may change or go", () => {
  const head = randomHead(24, 2, 9);
  const states = normal(rows * 24, 2);
  const made = new native.NativeStoppingHead(head);
  const before = [...made.acceptance(states)];
  for (const { weight, bias } of [...head.blocks, head.classes]) {
    weight.fill(1);
    bias.fill(1);
  }
  expect([...made.acceptance(states)]).toEqual(before);
});

const small = () => randomHead(4, 1, 1);
test.each<[string, () => unknown]>([
  ["no options", () => undefined],
  ["hidden 0", () => ({ ...small(), hidden: 0 })],
  ["another hidden", () => ({ ...small(), hidden: 5 })],
  ["a huge hidden", () => ({ ...small(), hidden: 2 ** 40 })],
  ["a fraction", () => ({ ...small(), hidden: 4.5 })],
  ["no classes", () => ({ ...small(), classes: undefined })],
  ["three classes", () => ({ ...small(), classes: { weight: new Float32Array(12), bias: new Float32Array(3) } })],
  ["a short block", () => ({ ...small(), blocks: [{ weight: new Float32Array(15), bias: new Float32Array(4) }] })],
  ["a long bias", () => ({ ...small(), blocks: [{ weight: new Float32Array(16), bias: new Float32Array(5) }] })],
  ["weights in double", () => ({ ...small(), classes: { weight: new Float64Array(8), bias: new Float32Array(2) } })],
  ["17 blocks", () => ({ ...small(), blocks: new Array(17).fill(small().blocks[0]) })],
  ["blocks that are none", () => ({ ...small(), blocks: 3 })],
])("refused: %s", (_, options) => {
  expect(() => new native.NativeStoppingHead(options() as never)).toThrow(code("OUTRIDER_ARGUMENT"));
});

test("states that are no rows of the hidden size are refused", () => {
  const head = new native.NativeStoppingHead(small());
  expect([...head.acceptance(new Float32Array())]).toEqual([]);
  for (const bad of [new Float32Array(5), undefined, [1, 2, 3, 4]])
    expect(() => head.acceptance(bad as Float32Array)).toThrow(code("OUTRIDER_ARGUMENT"));
  expect(() => head.acceptance(new Float64Array(4) as never)).toThrow(code("OUTRIDER_SHAPE"));
  expect(() => head.acceptance.call({} as never, new Float32Array(4))).toThrow();
});
