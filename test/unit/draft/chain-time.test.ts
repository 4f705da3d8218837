// What chains take by their length.
import { expect, test } from "vitest";
import { ChainTime } from "../../../lib/draft/chain-time.ts";

test("nothing is known before anything was measured; of one length a token is its share", () => {
  const time = new ChainTime();
  expect(time.seconds(3)).toBeUndefined();
  for (let i = 0; i < 10; i++) time.observe(4, 2);
  expect(time.seconds(4)).toBeCloseTo(2, 12);
  expect(time.seconds(1)).toBeCloseTo(0.5, 12);
  expect(time.seconds(8)).toBeCloseTo(4, 12);
});

test("a line through several lengths, with a first token that takes longer", () => {
  const time = new ChainTime();
  for (let i = 0; i < 60; i++) time.observe(1 + (i % 5), 3 + (1 + (i % 5)));
  for (const tokens of [1, 3, 8]) expect(time.seconds(tokens)).toBeCloseTo(3 + tokens, 6);
});

test("the latest count most, and a pause hardly", () => {
  const time = new ChainTime();
  for (let i = 0; i < 200; i++) time.observe(1 + (i % 2), 1 + (i % 2));
  for (let i = 0; i < 200; i++) time.observe(1 + (i % 2), 2 * (1 + (i % 2)));
  expect(time.seconds(2)).toBeCloseTo(4, 2);
  const before = time.seconds(2) as number;
  time.observe(2, 1000);
  expect(time.seconds(2)).toBeLessThan(1.1 * before);
});

test("longer chains never take less, nor a token more than its share", () => {
  const time = new ChainTime();
  for (let i = 0; i < 50; i++) time.observe(1 + (i % 2), i % 2 === 0 ? 2 : 1);
  expect(time.seconds(4)).toBeGreaterThanOrEqual(time.seconds(1) as number);
  const steep = new ChainTime();
  for (let i = 0; i < 50; i++) steep.observe(1 + (i % 2), i % 2 === 0 ? 0.1 : 2);
  expect(steep.seconds(1)).toBeGreaterThan(0);
});
