// What a step of n rows costs on this machine: measured by the steps themselves.

import { rising } from "./rising.ts";

/** Cost of each further row before it was measured, in single rows. */
const priorSlope = 0.25;
/** Weight of a new measurement, and of one that is shorter than what is known: steps take longer by chance, but not less. */
const [fresh, shorter] = [0.1, 0.3];
/**
 * A measurement counts for at most so many times what was measured before, the first for so many times what its neighbours say: a machine that was busy elsewhere says nothing about rows, and a
 * size that it was busy at would be left alone for long.
 */
const mostSurprise = 1.25;
/** Weight of a first measurement of a size that took longer than its neighbours say. */
const firstWeight = 0.25;
/** What a measurement is still worth after each step of another size; the rest is what all sizes together say, so that a size that was slow by chance is tried again. */
const fading = 0.99;
/** What a measurement is worth at least in that. */
const leastWorth = 0.02;
/** Measurements that a size counts for at most. */
const mostWeight = 20;

/** Seconds by number of rows, for one model on one machine: what was measured lately, and for other sizes the line through it all. */
export class CostCurve {
  readonly #seconds: (number | undefined)[] = [];
  readonly #weights: number[] = [];
  readonly #worth: number[] = [];
  #fitted: { rows: number; seconds: number }[] | undefined;

  /** Notes what a step of `rows` rows took. */
  observe(rows: number, seconds: number): void {
    if (!(seconds > 0)) return;
    const before = this.#seconds[rows];
    const count = (this.#weights[rows] ?? 0) + 1;
    const weight = Math.max(before !== undefined && seconds < before ? shorter : fresh, 1 / count);
    const likely = before ?? this.seconds(rows);
    const counted = likely === undefined ? seconds : Math.min(seconds, mostSurprise * likely);
    // The first step of a size also gets its memory: if it is slow, what its neighbours say counts for more.
    if (before !== undefined) this.#seconds[rows] = before + weight * (counted - before);
    else if (likely === undefined || counted <= likely) this.#seconds[rows] = counted;
    else this.#seconds[rows] = likely + firstWeight * (counted - likely);
    this.#weights[rows] = Math.min(count, mostWeight);
    for (let other = 2; other < this.#worth.length; other++) this.#worth[other] = (this.#worth[other] ?? 0) * fading;
    this.#worth[rows] = 1;
    this.#fitted = undefined;
  }

  /** Says what a single row takes, which is decoded plainly and never tried as a tree. */
  setSingle(seconds: number): void {
    [this.#seconds[1], this.#weights[1], this.#worth[1]] = [seconds, mostWeight, 1];
    this.#fitted = undefined;
  }

  /** Seconds of a step of `rows` rows; undefined before any was measured. Never falls with rows; between measurements it is a line. */
  seconds(rows: number): number | undefined {
    const points = this.#points();
    if (points.length === 0) return undefined;
    const after = points.findIndex((point) => point.rows >= rows);
    if (after >= 0 && points[after].rows === rows) return points[after].seconds;
    // Outside of what was measured: the prior slope, from the single row if it is known.
    const slope = (from: { rows: number; seconds: number }) =>
      (from.seconds / (1 + priorSlope * (from.rows - 1))) * priorSlope;
    if (after === 0) return Math.max(0, points[0].seconds - slope(points[0]) * (points[0].rows - rows));
    if (after < 0) {
      const last = points[points.length - 1];
      return last.seconds + slope(last) * (rows - last.rows);
    }
    const [a, b] = [points[after - 1], points[after]];
    return a.seconds + ((b.seconds - a.seconds) * (rows - a.rows)) / (b.rows - a.rows);
  }

  /** What was measured: rows, seconds and weight of each size. */
  entries(): [rows: number, seconds: number, weight: number][] {
    return [...this.#seconds.keys()].flatMap((rows) => {
      const seconds = this.#seconds[rows];
      return seconds === undefined ? [] : [[rows, seconds, this.#weights[rows]] as [number, number, number]];
    });
  }

  /** Takes over what was measured earlier, as `entries` has it. */
  restore(entries: readonly (readonly [rows: number, seconds: number, weight: number])[]): void {
    for (const [rows, seconds, weight] of entries) {
      this.#seconds[rows] = seconds;
      this.#weights[rows] = Math.min(weight, mostWeight);
      this.#worth[rows] = 1;
    }
    this.#fitted = undefined;
  }

  /** The straight line closest to all measurements, by least squares, each by what it is worth. */
  #line(rows: readonly number[]): (rows: number) => number {
    let [all, n, seconds] = [0, 0, 0];
    for (const size of rows) {
      const worth = Math.max(this.#worth[size], leastWorth);
      all += worth;
      n += worth * size;
      seconds += worth * (this.#seconds[size] as number);
    }
    const [meanRows, mean] = [n / all, seconds / all];
    let [along, square] = [0, 0];
    for (const size of rows) {
      const worth = Math.max(this.#worth[size], leastWorth);
      along += worth * (size - meanRows) * ((this.#seconds[size] as number) - mean);
      square += worth * (size - meanRows) ** 2;
    }
    const slope = square > 0 ? Math.max(0, along / square) : 0;
    return (at) => mean + slope * (at - meanRows);
  }

  #points(): { rows: number; seconds: number }[] {
    if (this.#fitted) return this.#fitted;
    const rows = [...this.#seconds.keys()].filter((n) => this.#seconds[n] !== undefined);
    const line = this.#line(rows);
    const fitted = rising(
      rows.map((n) => this.#worth[n] * (this.#seconds[n] as number) + (1 - this.#worth[n]) * line(n)),
      rows.map((n) => this.#weights[n]),
    );
    this.#fitted = rows.map((n, i) => ({ rows: n, seconds: fitted[i] }));
    return this.#fitted;
  }
}
