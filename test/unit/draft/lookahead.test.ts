// Lookahead decoding on a model that is a function of the last tokens: what its window says, and when it is looked at.
import { describe, expect, test } from "vitest";
import { Drafting } from "../../../lib/draft/drafting.ts";
import { Experience } from "../../../lib/draft/experience.ts";
import { JacobiWindow } from "../../../lib/draft/jacobi-window.ts";
import { lookahead } from "../../../lib/draft/lookahead.ts";
import { RunPool } from "../../../lib/draft/run-pool.ts";
import { contextOf, greedy } from "../../support/eager.ts";
import { code } from "../../support/errors.ts";

const vocab = 32;

/** What the model says after a path: it depends on the last two tokens, and soon goes round in a circle. */
const say = (path: readonly number[]) => (5 * (path[path.length - 1] ?? 0) + (path[path.length - 2] ?? 0) + 3) % vocab;

/** What it says after every row of a tree behind `text`, whose last token is the root. */
function bestOf(text: readonly number[], token: ArrayLike<number>, parent: ArrayLike<number>): Int32Array {
  const paths: number[][] = [];
  return Int32Array.from({ length: token.length }, (_, row) => {
    paths.push(parent[row] < 0 ? [...text] : [...paths[parent[row]], token[row]]);
    return say(paths[row]);
  });
}

describe("window", () => {
  // The definition, guess by guess: what each sees is the text, level 0 up to its column, and its own column below it.
  test("every guess is what the model says after what it may see, and the newest of each column ends a run", () => {
    const [columns, levels] = [4, 3];
    const window = new JacobiWindow([1, 2, 3, 4, 5], columns, levels);
    const text = [1, 2];
    let known: number[][] = []; // by level, as the window should have them; of level 0 at first what it says itself
    for (let step = 0; step < 12; step++) {
      const rows = window.rows(text[text.length - 1], 63, 100);
      if (!rows) throw new Error("no rows");
      const paths: number[][] = [];
      for (const [row, token] of rows.token.entries()) paths.push(row === 0 ? [] : [...paths[rows.parent[row]], token]);
      if (step === 0) known = [paths.slice(1).map((path) => path[path.length - 1])];
      const expected = new Set<string>();
      const said = known[0].map((_, column) => {
        const seen = [...known[0].slice(0, column + 1)];
        expected.add(seen.join());
        for (let level = 1; level < known.length; level++) {
          seen.push(known[level][column]);
          expected.add(seen.join());
        }
        return say([...text, ...seen]);
      });
      expect(new Set(paths.slice(1).map((path) => path.join()))).toEqual(expected);
      const best = bestOf(text, rows.token, rows.parent);
      const outcome = { token: Int32Array.from(rows.token), parent: Int32Array.from(rows.parent) };
      const runs = window.advance(outcome, best);
      if (known.length === levels) {
        const ends = said.map((next, column) => [...known.map((level) => level[column]), next]);
        expect(runs.map(([first, rest]) => [first, ...rest])).toEqual(ends);
        known = [...known.slice(1), said];
      } else {
        expect(runs).toEqual([]);
        // The last column is new: take it from the rows of the next step.
        known = [...known, said].map((level) => level.slice(1));
        const next = window.rows(say(text), 63, 100);
        if (!next) throw new Error("no rows");
        const at = (parent: number, rank: number) =>
          [...next.token.keys()].filter((row) => next.parent[row] === parent)[rank];
        let deepest = 0;
        for (let column = 0; column < columns - 1; column++) {
          const child = [...next.token.keys()].find(
            (row) => next.parent[row] === deepest && next.token[row] === known[0][column],
          );
          deepest = child as number;
        }
        // Of the last column only its own path is left below the one before it, but for that one's own levels.
        const own = new Set(known.slice(1).map((level) => level[columns - 2]));
        const last = [0, 1].map((rank) => at(deepest, rank)).filter((row) => row !== undefined);
        let row = last.find((one) => !own.has(next.token[one])) ?? last[0];
        for (const level of known) {
          level.push(next.token[row]);
          row = at(row, 0) ?? row;
        }
      }
      text.push(say(text));
    }
  });

  test("fewer columns where there is less room, and none where there is none", () => {
    const window = new JacobiWindow([1, 2, 3], 5, 3);
    expect(window.rows(1, 2, 100)?.token.length).toBeLessThanOrEqual(3);
    expect(window.rows(1, 63, 2)?.token.length).toBeLessThanOrEqual(3);
    expect(window.rows(1, 0, 100)).toBeUndefined();
    expect(window.rows(1, 63, 0)).toBeUndefined();
  });
});

test("the pool keeps the newest runs of a token, each once", () => {
  const pool = new RunPool(2);
  for (const last of [1, 2, 1, 3]) pool.add(7, Int32Array.of(5, last));
  expect(pool.after(7).map((run) => [...run])).toEqual([
    [5, 3],
    [5, 1],
  ]);
  expect(pool.after(8)).toEqual([]);
});

describe("under the policy", () => {
  /** Costs that are known: a row more takes `slope` tokens. */
  const known = (slope: number) => {
    const experience = new Experience();
    for (let i = 0; i < 30; i++) experience.observePlain(1, 1, 0);
    for (let rows = 1; rows <= 64; rows++)
      for (let i = 0; i < 30; i++) experience.observeTree(rows, 1 + slope * (rows - 1), 0);
    return experience;
  };
  /** A text of 1000 tokens: what it takes, in tokens of plain decoding, and what drafting says. */
  const follow = async (experience: Experience, slope: number) => {
    const text = [1, 2];
    const drafting = new Drafting([lookahead()], experience, text, contextOf(vocab), greedy);
    let seconds = 0;
    while (text.length < 1002) {
      const tree = await drafting.propose(100);
      const token = tree?.token ?? Int32Array.of(text[text.length - 1]);
      const parent = tree?.parent ?? Int32Array.of(-1);
      const best = bestOf(text, token, parent);
      const walk: number[] = [];
      for (let at = 0; at >= 0; ) {
        const said = best[at];
        text.push(said);
        at = tree?.child(at, said) ?? -1;
        if (at >= 0) walk.push(at);
      }
      seconds += 1 + slope * (token.length - 1);
      const tokens = Int32Array.from(text.slice(text.length - walk.length - 1));
      drafting.observe({ tokens, rows: { token, parent }, best }, 1, tree, walk);
    }
    return { tokens: text.length - 2, seconds, stats: drafting.stats };
  };

  test("where rows cost nothing it says several tokens a step", async () => {
    const { tokens, seconds, stats } = await follow(known(0.001), 0.001);
    expect(tokens / seconds).toBeGreaterThan(2);
    expect(stats.drafters.lookahead.accepted).toBeGreaterThan(300);
    expect(stats.accepted).toBeLessThanOrEqual(stats.drafted);
  });

  test("where they are dear, what it looks at costs next to nothing", async () => {
    const { tokens, seconds } = await follow(known(0.9), 0.9);
    expect(tokens / seconds).toBeGreaterThan(0.97);
  });
});

test.each([{ window: 0 }, { window: 33 }, { length: 1 }, { length: 2.5 }, { guesses: 0 }, { width: 3 }])(
  "%o is refused",
  (options) => {
    expect(() => lookahead(options as object)).toThrow(code("OUTRIDER_ARGUMENT"));
  },
);
