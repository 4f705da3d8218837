// What drafters learn outlives the process, for the model that it was learnt about, and damage counts as nothing learnt.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { DraftContext, LearningDrafter } from "../../../lib/draft/drafter.ts";
import { ngram } from "../../../lib/draft/ngram.ts";
import { recycle } from "../../../lib/draft/recycle.ts";
import { suffix } from "../../../lib/draft/suffix.ts";
import type { TokenTree } from "../../../lib/tree/token-tree.ts";
import { contextOf, greedy } from "../../support/eager.ts";
import { code } from "../../support/errors.ts";

let root: string;
let folder: string;
let count = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "outrider-keep-"));
});
beforeEach(() => {
  folder = path.join(root, String(count++), "deeper");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const kinds: [string, (folder: string) => LearningDrafter][] = [
  ["recycle", (where) => recycle({ width: 2, folder: where })],
  ["ngram", (where) => ngram({ folder: where })],
  ["suffix", (where) => suffix({ folder: where })],
];

/** A finished text in which 8 and 9 follow 7. */
async function learn(drafter: LearningDrafter, context: DraftContext): Promise<void> {
  await drafter.prepare?.(context);
  const session = drafter.start([1], context, greedy);
  const tokens = Int32Array.of(7, 8, 9, 7, 8, 9);
  const rows = { token: Int32Array.of(1, 7, 8, 9, 7, 8), parent: Int32Array.of(-1, 0, 1, 2, 3, 4) };
  session.observe({ tokens, rows, best: Int32Array.of(7, 0, 8, 0, 9, 0, 7, 0, 8, 0, 9, 0) });
  session.end?.();
}

/** What a new text that comes to 7 is offered. */
async function offered(drafter: LearningDrafter, context: DraftContext): Promise<number[]> {
  await drafter.prepare?.(context);
  const session = drafter.start([5, 7], context, greedy);
  const tree = session.propose({ nodes: 2, depth: 2 }) as TokenTree | undefined;
  return tree ? [...tree.token] : [];
}

describe.each(kinds)("%s", (_, make) => {
  test("another process knows it, of the same model", async () => {
    const context = contextOf(20, "a");
    const first = make(folder);
    await learn(first, context);
    await first.save();
    expect(await offered(make(folder), contextOf(20, "a"))).toEqual([7, 8, 9]);
    expect(await offered(make(folder), contextOf(20, "b"))).toEqual([]);
    expect(await offered(make(folder), contextOf(21, "a"))).toEqual([]);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("a file that was damaged anywhere counts as none, and is written anew", async () => {
    const first = make(folder);
    await learn(first, contextOf(20));
    await first.save();
    const file = path.join(folder, readdirSync(folder)[0]);
    const whole = readFileSync(file);
    const step = Math.max(1, Math.floor(whole.length / 60));
    for (let at = 0; at < whole.length; at += step) {
      const damaged = Buffer.from(whole);
      damaged[at] ^= 4;
      writeFileSync(file, damaged);
      expect(await offered(make(folder), contextOf(20)), `byte ${at}`).toEqual([]);
      writeFileSync(file, whole.subarray(0, at));
      expect(await offered(make(folder), contextOf(20)), `cut at ${at}`).toEqual([]);
    }
    const second = make(folder);
    await learn(second, contextOf(20));
    await second.save();
    expect(readFileSync(file).equals(whole)).toBe(true);
  });

  test("it is written a moment after a text has ended", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const drafter = make(folder);
    await learn(drafter, contextOf(20));
    vi.advanceTimersByTime(2500);
    vi.useRealTimers();
    await drafter.save(); // waits for what is under way
    expect(readdirSync(folder)).toHaveLength(1);
  });

  test("a folder that cannot be written to is said when it is asked for, and costs nothing else", async () => {
    writeFileSync(path.join(root, `file-${count}`), "");
    const drafter = make(path.join(root, `file-${count}`, "below"));
    await learn(drafter, contextOf(20));
    await expect(drafter.save()).rejects.toThrow();
    await learn(drafter, contextOf(20));
    await expect(drafter.save()).rejects.toThrow();
  });

  test("without a folder nothing is written", async () => {
    const drafter = make(undefined as unknown as string);
    await learn(drafter, contextOf(20));
    await drafter.save();
  });

  test("a folder is a path", () => {
    for (const wrong of ["", 5, null, {}])
      expect(() => make(wrong as string)).toThrow(code("OUTRIDER_ARGUMENT", /the path of a folder for folder/));
  });
});
