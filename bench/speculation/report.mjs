// docs/speculation.md: every drafter on every workload, and what the same drafts would bring on other machines.

const published = [
  // method, tokens a step, speed-up on an A100, on an RTX 3090; Spec-Bench, Vicuna 7B, greedy (their figures)
  ["SAM-Decoding with EAGLE-2", 4.58, 2.73, 2.38],
  ["EAGLE-2", 4.34, 2.36, 2.19],
  ["Token Recycling", 2.73, 2.22, 1.4],
  ["Medusa", 2.31, 1.71, 1.44],
  ["prompt lookup", 1.75, 1.66, 1.64],
  ["a draft model of 68M", 2.28, 1.52, 1.79],
  ["Lookahead", 1.64, 1.34, 1.13],
];

/** The default model: bytes of weights a token reads, and its multiply-accumulates. */
const [bytes, macs] = [65e6, 134.5e6];
/** Int8 multiply-accumulates a second of one core of Zen 4 (`outrider doctor`), and what kernels reach of it for many rows. */
const [peak, reached] = [235e9, 0.7];

/** Cost of n rows over one: reading the weights once, or the products if they take longer. */
function roofline(cores, bandwidth) {
  const [read, row] = [bytes / bandwidth, macs / (cores * peak * reached)];
  return (rows) => Math.max(read, rows * row) / Math.max(read, row);
}

const machines = [
  ["this machine's curve", undefined],
  ["8 such cores, 60 GB/s", roofline(8, 60e9)],
  ["32 such cores, 300 GB/s", roofline(32, 300e9)],
  ["a GPU where 64 rows cost 1.15 of one", (rows) => 1 + (0.15 * (rows - 1)) / 63],
];

/** A cost curve from rows `decode/default/Tn`, straight lines between them. */
function measuredCurve(decode) {
  const points = (decode?.rows ?? [])
    .filter(({ id }) => /^decode\/default\/T\d+$/.test(id))
    .map(({ id, value }) => [Number(id.split("/T")[1]), value])
    .sort(([a], [b]) => a - b);
  if (points.length < 2) return undefined;
  return (rows) => {
    const after = points.findIndex(([n]) => n >= rows);
    if (after < 0) return points[points.length - 1][1];
    if (points[after][0] === rows || after === 0) return points[after][1];
    const [[a, from], [b, to]] = [points[after - 1], points[after]];
    return from + ((to - from) * (rows - a)) / (b - a);
  };
}

const digits = (value, count = 2) => (value === undefined ? "" : value.toFixed(count));

const ruleNames = {
  "shared-noise": "shared noise (decoding)",
  "sample-matching": "sample matching, drawn drafts",
  "best-guess": "sample matching, the likeliest drafts",
  "chain-rejection": "chain rejection",
  block: "block verification",
  "multi-draft": "SpecInfer, independent paths",
  "k-seq": "SpecTr's k-SEQ, independent paths",
  "without-replacement": "rejection without replacement",
  traversal: "traversal verification",
  "ordered-one-hot": "ordered one-hot, the likeliest drafts",
  typical: "typical acceptance, the likeliest drafts (not exact)",
};

/** Rows of the table of rules. */
function ruleLines(rows) {
  return Object.entries(ruleNames)
    .map(([rule, name]) => {
      const cells = ["chain", "tree"].map((shape) => digits(rows.get(`speculation/rules/${shape}/${rule}`)?.value));
      return `| ${name} | ${cells.join(" | ")} |`;
    })
    .join("\n");
}

/** What drafting with a model could bring at most, if it was measured. */
function draftBound(value) {
  const of = (name) => value(`speculation/draft-model/smollm2/${name}`);
  if (of("by-confidence") === undefined) return "";
  return ` Two models
that take turns also take the caches from each other: here the first token of a draft takes ${digits(of("draft1"))} of a token and two rows behind it ${digits(of("rows2"))}, where each model alone
takes ${digits(of("draft1-apart"))} and ${digits(of("rows2-apart"))}. At these times drafts by confidence bring ${digits(of("by-confidence"))} at best, with all else free, and ${digits(of("bound"))} with foresight; ${digits(of("by-confidence-apart"))} and ${digits(of("bound-apart"))} at
the times of each alone (\`bench/speculation/draft-bound.mjs\`).`;
}

/** @param found the table of `speculation` @param decode that of `decode` of the same level */
export function speculationDoc(found, decode) {
  const rows = new Map(found.rows.map((row) => [row.id, row]));
  const measured = found.rows.filter(({ ratio, id }) => ratio !== undefined && rows.has(`${id}/accepted`));
  const value = (id) => rows.get(id)?.value;
  const curve = measuredCurve(decode);
  const lines = measured.map(({ id, ratio }) => {
    const at = [1, 2, 3, 4, 6, 8].map((depth) => digits(value(`${id}/at${depth}`)));
    const name = id.replace("speculation/", "");
    const cells = [
      digits(ratio),
      digits(value(`${id}/accepted`)),
      digits(value(`${id}/drafted`), 1),
      digits(value(`${id}/steps`)),
    ];
    return `| ${name} | ${cells.join(" | ")} | ${at.join(" | ")} |`;
  });
  const other = (name) => rows.get(`speculation/${name}`);
  const predicted = measured
    .filter(({ id }) => !id.includes("draft-model") && !id.includes("-t0.8"))
    .map(({ id, ratio }) => {
      const [length, drafted, steps] = ["accepted", "drafted", "steps"].map((what) => value(`${id}/${what}`));
      // Per token: plain steps, and steps with drafts that cost T(1 + drafted).
      const plain = Math.max(0, 1 - steps * length);
      const cells = machines.map(([, of]) => {
        const cost = of ?? curve;
        return cost ? digits(1 / (plain + steps * cost(1 + drafted))) : "";
      });
      return `| ${id.replace("speculation/", "")} | ${digits(ratio)} | ${cells.join(" | ")} |`;
    });
  const { cpu, cores, isa, bandwidthGBps } = found.machine;
  const best = other("draft-model/best");
  const oracle = other("oracle/g4");
  const overhead = other("overhead");
  return `# Speculative decoding

Made by \`npm run bench:report\` from the newest \`bench/results/speculation-${isa}-*.json\`, which \`${found.command}\` wrote: ${found.date}, ${cpu}, ${cores} cores, level ${isa},
${bandwidthGBps} GB/s, Node ${found.node}. The text is the same with drafts and without in every row, which the benchmark checks.

## Every drafter on every workload

The default model answers the questions of \`bench/speculation/workloads.mjs\`: \`copy\` repeats a passage, a JSON object and a program with small changes, \`summary\` quotes
articles, \`agentic\` asks nearly the same four times, \`chat\` talks, \`random\` makes things up at temperature 1.2. Rows \`-t0.8\` are drawn at that temperature, others greedy.
\`draft-model\` rows have models of their own (\`bench/speculation/draft-models.mjs\`). Ratio: time of plain decoding over time with drafts, by turns. Then of steps with drafts:
tokens that one brought, drafted tokens it evaluated, how many of such steps there were for a token of text, and how often the token at depth 1, 2, 3, 4, 6, 8 was taken
where drafts were so deep.

| workload / drafter | ratio | tokens a step | drafted | steps a token | at 1 | 2 | 3 | 4 | 6 | 8 |
|---|---|---|---|---|---|---|---|---|---|---|
${lines.join("\n")}

Perfect drafts of four tokens bring ${digits(oracle?.ratio)}, ${digits(oracle?.fraction)} of what the engine's times of a token and of such a step allow. Drafters take ${digits(overhead?.value, 0)} us a token.${
    best ? ` The best draft model brings ${digits(best.ratio)}.` : ""
  }

## Rules

A drafted tree is verified along the draws that the model makes anyway, with noise that depends on seed, position and token alone (shared noise): the text does not depend on
the drafter, and a draft model that draws with the same noise is accepted with a probability of at least (1 - TV) / (1 + TV), TV being the distance of the two laws, where the best rule
for one token has 1 - TV. \`lib/verify\` has the rules of the literature, each proved exact by enumeration: rejection of chains and trees, with and without replacement, ordered
one-hot, SpecInfer's, SpecTr's, block and traversal verification. They keep the law and not the text, so decoding does not use them.

Tokens that a step brings, its own included, with drafts of a model of 0.7 million parameters for one of 3.5 million at temperature 1 (\`bench/speculation/rules.mjs\`): chains of 4 tokens, and trees of 6 with two tokens
at the root. Of all rules that are given their children, none accepts more than sample matching.

| rule | chain | tree |
|---|---|---|
${ruleLines(rows)}

## What does not pay on two cores, and why

A step of n rows costs T(n); one more drafted token pays if the chance that it is taken exceeds its share of the cost, about a fifth of a token here. Tables that are right
four times in ten at the first token and seldom after (\`recycle\`, \`ngram\` on free text) are near that line: what they win on some texts they lose in steps of
two rows that bring one token. A draft model pays if it takes a small part of the model's time: the default
model and its 8-bit form read 65 and 150 MB a token, so that a drafted token costs half a token, and the small pair takes less time than the call around it.${draftBound(value)} Trees (\`shape\`) bring more tokens a step than chains, and both models
pay for their rows; a trained head (\`head\`) ends chains where a token is likely refused, about as well as the draft's own confidence does; drafting beside the model (\`pearl\`) takes from it the
cores and the memory bus that it works with, and is switched off where there are not enough cores; its rows here were made in spite of that (\`crowded\`).
Skipping layers of the model itself (\`skipLayers\`) drafts at half its cost and needs nine of ten drafts right to break even; SWIFT reports 1.3 to 1.6 on GPUs for models of 13 to 70
billion parameters, which have layers to spare. The policy soon leaves both alone, so that their rows are near 1. Lookahead evaluates dozens of rows a step, which is for machines whose
curve is flat: \`lookahead\` makes its window as small as a token's worth of time, looks rarely, and finds little.

## On other machines

What the same drafts would bring where rows cost something else: per token of text 1 - s l plain steps and s steps that cost T(1 + d), with s, l and d from the table. A flatter
curve would be drafted for more deeply, so these are lower bounds. The first column is measured, the second the formula with this machine's own curve: the difference is calls and
drafters.

| workload / drafter | measured | ${machines.map(([name]) => name).join(" | ")} |
|---|---|${machines.map(() => "---|").join("")}
${predicted.join("\n")}

The formula against published figures (Spec-Bench, Vicuna 7B, greedy, their numbers): tokens a step over the speed-up is what a step cost. Copying has few rows and costs little on either
card; 60 to 80 rows cost 1.2 to 1.9 steps, more on the card with less arithmetic: the curve decides, not the drafter.

| method | tokens a step | A100 | a step's cost there | RTX 3090 | a step's cost there |
|---|---|---|---|---|---|
${published.map(([name, length, a100, rtx]) => `| ${name} | ${length} | ${a100} | ${digits(length / a100)} | ${rtx} | ${digits(length / rtx)} |`).join("\n")}
`;
}
