// What drafting did over all texts of a round, as rows behind the row of its speed.

const sum = (list, pick) => list.reduce((total, one) => total + (pick(one) ?? 0), 0);

/** Depths whose acceptance is shown. */
const depths = [1, 2, 3, 4, 6, 8];

/**
 * @param stats `stats.speculation` of every text; undefined entries did not draft
 * @param tokens of all texts
 */
export function detailRows(id, stats, tokens) {
  const known = stats.filter((one) => one !== undefined);
  const [steps, drafted, accepted] = ["steps", "drafted", "accepted"].map((key) => sum(known, (one) => one[key]));
  const rows = [
    { id: `${id}/accepted`, value: steps > 0 ? 1 + accepted / steps : 1, unit: "tokens a drafted step" },
    { id: `${id}/drafted`, value: steps > 0 ? drafted / steps : 0, unit: "drafted tokens a drafted step" },
    { id: `${id}/steps`, value: steps / tokens, unit: "drafted steps a token" },
  ];
  for (const depth of depths) {
    const deep = known.filter(({ acceptedAtDepth }) => acceptedAtDepth.length >= depth);
    const weight = sum(deep, (one) => one.steps);
    if (weight === 0) continue;
    const value = sum(deep, (one) => one.steps * one.acceptedAtDepth[depth - 1]) / weight;
    rows.push({ id: `${id}/at${depth}`, value, unit: "of drafts so deep" });
  }
  return rows;
}
