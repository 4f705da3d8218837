// Sets of drafters against plain decoding, by turns at every question: what else the machine does falls on all of them alike.
import { median } from "../measure.mjs";

/** Seconds from the first token to the last. */
const decodeSeconds = ({ totalMs, timeToFirstTokenMs }) => (totalMs - timeToFirstTokenMs) / 1e3;

/**
 * Asks all questions so many times, and once before that is not counted. In each round another set is the first.
 * @param sets by name: makes the drafters of a round; `plain` among them
 * @param answer (question, its number, drafters) => what a model says
 * @returns by set: for each round the seconds and tokens of all answers without their prefill, of these the engine's seconds, and their statistics of speculation
 * @throws if a set changes a text
 */
export async function rounds({ repetitions, questions, sets, answer }) {
  const names = Object.keys(sets);
  const seen = Object.fromEntries(names.map((name) => [name, []]));
  const said = [];
  for (let round = -1; round < repetitions; round++) {
    const first = (round + 1) % names.length;
    const order = [...names.slice(first), ...names.slice(0, first)];
    const drafters = Object.fromEntries(names.map((name) => [name, sets[name]()]));
    const found = Object.fromEntries(names.map((name) => [name, { seconds: 0, engine: 0, tokens: 0, stats: [] }]));
    for (const [i, question] of questions.entries()) {
      for (const name of order) {
        const { tokens, stats } = await answer(question, i, drafters[name]);
        said[i] ??= JSON.stringify(tokens);
        if (JSON.stringify(tokens) !== said[i]) throw new Error(`${name}: another text for question ${i}`);
        found[name].seconds += decodeSeconds(stats);
        found[name].engine += (tokens.length - 1) / stats.decodeTokensPerSecond;
        found[name].tokens += tokens.length - 1;
        found[name].stats.push(stats.speculation);
      }
    }
    if (round >= 0) for (const name of names) seen[name].push(found[name]);
  }
  return seen;
}

/** Tokens a second of a set, and how many times those of plain decoding: medians of the rounds. */
export function speedOf(seen, name) {
  const value = median(seen[name].map(({ tokens, seconds }) => tokens / seconds));
  const ratio = median(seen[name].map(({ seconds }, i) => seen.plain[i].seconds / seconds));
  return { value, ratio };
}
