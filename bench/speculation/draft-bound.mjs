// What drafting chains with a model can bring: rows `speculation/draft-model/PAIR/bound` and what they are made of.
//
// Greedy texts of the larger model are replayed: behind every token the smaller model proposes what it would have said there, one token after the other. Times of the
// engine are measured as they come about, the models by turns: a draft of g tokens, n rows of the larger model behind it, and plain tokens of the larger model alone.
// `bound`: nothing is drafted in vain. Whoever knew before each step how many proposals are right would take these times at least: the best way through the text,
// found from its end on. `by-confidence`: what can be known. A draft ends where the product of its probabilities is below one threshold or g tokens are there, and
// tokens are verified whose product is above another; the best of all thresholds and g, for the whole text, with g = 0 where nothing pays. Both leave out what a step
// costs beside the engine, that a draft behind one that was right to its end begins with two rows, and that the smaller model has to read the prompt; the second also
// what is drafted behind a wrong token. `-apart`: the same with times of each model alone, as they would be with caches that hold both, or neither.
import { topk } from "outrider/ops";
import { makeSampler } from "../../dist/generate/decode.js";
import { drawAhead } from "../../dist/generate/draft-draws.js";
import { resolveOptions } from "../../dist/generate/options.js";
import { partsOf } from "../../dist/generate/parts.js";
import { want } from "../../dist/native.js";
import { median } from "../measure.mjs";

const longest = 8;
const thresholds = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const textTokens = 96;
const [rounds, steps] = [5, 8];

/** For every token of greedy texts of the larger model: whether the smaller one says it too, and how likely that finds its own. */
async function replayed(large, small, prompts) {
  const texts = [];
  for (const prompt of prompts) {
    const { tokens } = await large.generate(prompt, {
      ...{ temperature: 0, maxTokens: textTokens, ignoreEos: true, draft: false },
    });
    const before = large.tokenize(prompt);
    const { ids, values, logsumexp } = topk({ x: await small.logits([...before, ...tokens.slice(0, -1)]), k: 1 });
    texts.push(
      Array.from(tokens, (token, i) => {
        const at = before.length - 1 + i;
        return { right: ids.data[at] === token, sure: Math.exp(values.data[at] - logsumexp.data[at]) };
      }),
    );
  }
  return texts;
}

/** Seconds of the texts if each step drafts as many tokens as are right, or fewer, whatever is fastest. */
function foresight(texts, { plain, draft, rows }) {
  let all = 0;
  for (const text of texts) {
    const left = new Array(text.length + 1).fill(0); // seconds from each token on
    for (let at = text.length - 1; at >= 0; at--) {
      left[at] = plain + left[at + 1];
      for (let g = 1; g <= longest && at + g <= text.length && text[at + g - 1].right; g++)
        left[at] = Math.min(left[at], draft[g] + rows[g + 1] + left[Math.min(at + g + 1, text.length)]);
    }
    all += left[0];
  }
  return all;
}

/** Seconds of the texts with drafts of up to `most` tokens that end below `least`, of which those above `sure` are verified. */
function byConfidence(texts, { plain, draft, rows }, most, least, sure) {
  let all = 0;
  for (const text of texts) {
    for (let at = 0; at < text.length; ) {
      let [drafted, verified, right, reach] = [0, 0, 0, 1];
      while (drafted < most && at + drafted < text.length && reach >= least) {
        const token = text[at + drafted];
        if (least > 0 && right < drafted) break; // nobody knows what it would have said behind a wrong one
        if (right === drafted && token.right) right += 1;
        reach *= token.sure;
        drafted += 1;
        if (reach >= sure) verified = drafted;
      }
      all += draft[drafted] + (verified > 0 ? rows[verified + 1] : plain);
      at += Math.min(right, verified) + 1; // the larger model's own token is in the place of a wrong one, or behind the last
    }
  }
  return all;
}

/** A text of a model with its steps. */
async function bench(model) {
  const { runtime } = partsOf(model);
  const { vocab } = runtime.spec;
  const cache = runtime.newCache();
  const text = Int32Array.from({ length: 64 }, (_, i) => 100 + i * 7);
  const sampler = makeSampler(
    { ...resolveOptions({ temperature: 0, seed: 1 }, {}, vocab), endIds: [] },
    vocab,
    text,
    text.length,
  );
  const shared = { caches: [cache], samplers: [sampler] };
  await runtime.step({
    ...{ ...shared, tokens: text, sequence: new Int32Array(text.length) },
    ...{ wants: new Uint8Array(text.length), topK: 1 },
  });
  const seconds = async (step) => (await runtime.step(step)).seconds;
  return {
    draw: (count) => seconds({ ...shared, ...drawAhead(cache, sampler, text.slice(0, 1), count, []) }),
    plain: (count) =>
      seconds({
        ...{ ...shared, tokens: text.slice(0, 1), sequence: new Int32Array(1), wants: Uint8Array.of(want.sample) },
        ...{ topK: 1, repeat: count },
      }),
    verify: (rows) =>
      seconds({
        ...{ ...shared, tokens: text.slice(0, rows), sequence: new Int32Array(rows) },
        ...{
          parents: Int32Array.from({ length: rows }, (_, i) => i - 1),
          wants: new Uint8Array(rows).fill(want.sample),
        },
        ...{ topK: 1, scratch: true, verify: true },
      }),
    again: () => cache.truncate(text.length),
    end: () => cache.dispose(),
  };
}

/** Seconds of a plain token, of drafts and of rows behind them, models by turns or each alone. */
async function timesOf(large, small, together) {
  const [target, draft] = [await bench(large), await bench(small)];
  const seen = { plain: [], draft: [], rows: [] };
  const note = (list, at, value) => {
    list[at] ??= [];
    list[at].push(value);
  };
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i <= steps; i++) {
      const value = await target.plain(longest);
      if (i > 0) note(seen.plain, 0, value / longest);
    }
    // By turns, or first one model and then the other: a pass brings into the caches what the next finds there.
    for (const turns of together ? [[draft, target]] : [[draft], [target]]) {
      for (let i = 0; i < steps; i++) for (const one of turns) await one.plain(1);
      for (let count = 1; count <= longest; count++) {
        for (let i = 0; i <= steps; i++) {
          for (const one of turns) {
            const value = await (one === draft ? draft.draw(count) : target.verify(count + 1));
            if (i > 0) note(one === draft ? seen.draft : seen.rows, one === draft ? count : count + 1, value);
          }
        }
        target.again();
        draft.again();
      }
    }
  }
  target.end();
  draft.end();
  return { plain: median(seen.plain[0]), draft: [0, ...seen.draft.slice(1).map(median)], rows: seen.rows.map(median) };
}

/** Times plain decoding, at best: with foresight, and by confidence. */
function gainsOf(texts, times) {
  const plain = texts.flat().length * times.plain;
  let best = { gain: 1, most: 0 };
  for (let most = 1; most <= longest; most++) {
    for (const least of thresholds) {
      for (const sure of thresholds) {
        const gain = plain / byConfidence(texts, times, most, least, sure);
        if (gain > best.gain) best = { gain, most };
      }
    }
  }
  return { bound: plain / foresight(texts, times), best };
}

/** Rows of what drafting for `large` with `small` could bring behind these prompts. */
export async function boundRows(id, large, small, prompts) {
  const texts = await replayed(large, small, prompts);
  const all = texts.flat();
  const together = await timesOf(large, small, true);
  const apart = await timesOf(large, small, false);
  const { bound, best } = gainsOf(texts, together);
  const alone = gainsOf(texts, apart);
  const ratio = "tokens of the larger model";
  const times = "times plain decoding";
  return [
    { id: `${id}/bound`, value: bound, unit: times },
    { id: `${id}/bound-apart`, value: alone.bound, unit: times },
    { id: `${id}/by-confidence`, value: best.gain, unit: times },
    { id: `${id}/by-confidence/tokens`, value: best.most, unit: "drafted tokens at most" },
    { id: `${id}/by-confidence-apart`, value: alone.best.gain, unit: times },
    { id: `${id}/agree`, value: all.filter(({ right }) => right).length / all.length, unit: "of greedy tokens" },
    { id: `${id}/draft1`, value: together.draft[1] / together.plain, unit: ratio },
    { id: `${id}/draft1-apart`, value: apart.draft[1] / apart.plain, unit: ratio },
    { id: `${id}/rows2`, value: together.rows[2] / together.plain, unit: ratio },
    { id: `${id}/rows2-apart`, value: apart.rows[2] / apart.plain, unit: ratio },
  ];
}
