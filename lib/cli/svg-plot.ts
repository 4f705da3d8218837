// Line plots and bars as SVG text: two axes, labels, nothing else. Colours suit light and dark pages.

const [width, height, left, bottom, top, right] = [640, 370, 56, 44, 48, 16];
const colours = ["#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#8b5cf6", "#64748b"];
const ink = "#6b7280";

const escaped = (text: string | number) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");
const text = (x: number, y: number, content: string | number, attributes = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="${ink}" font-family="sans-serif" font-size="12" ${attributes}>${escaped(content)}</text>`;
const line = (x1: number, y1: number, x2: number, y2: number, attributes = "") =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${ink}" ${attributes}/>`;

/** Round steps: about `count` of them up to `most`. */
function steps(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough) ?? rough;
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step);
}

function frame(title: string, body: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
${text(8, 18, title, 'font-weight="bold"')}
${body.join("\n")}
</svg>
`;
}

/** A line of a plot. */
export interface Series {
  name: string;
  points: readonly (readonly [number, number])[];
}

/** Lines through points, both axes from 0. */
export function linePlot(title: string, xLabel: string, yLabel: string, series: readonly Series[]): string {
  const points = series.flatMap((each) => each.points);
  const [mostX, mostY] = [0, 1].map((axis) => points.reduce((most, point) => Math.max(most, point[axis]), 0) || 1);
  const x = (value: number) => left + (value / mostX) * (width - left - right);
  const y = (value: number) => height - bottom - (value / mostY) * (height - bottom - top);
  const body = [line(left, y(0), width - right, y(0)), line(left, y(0), left, top)];
  for (const step of steps(mostY, 6))
    body.push(
      line(left, y(step), width - right, y(step), 'stroke-opacity="0.2"'),
      text(left - 8, y(step) + 4, step, 'text-anchor="end"'),
    );
  for (const step of steps(mostX, 8)) body.push(text(x(step), y(0) + 18, step, 'text-anchor="middle"'));
  body.push(text((left + width) / 2, height - 8, xLabel, 'text-anchor="middle"'), text(8, top - 12, yLabel));
  series.forEach(({ name, points: each }, i) => {
    const colour = colours[i % colours.length];
    const path = each.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    body.push(`<polyline fill="none" stroke="${colour}" stroke-width="2" points="${path}"/>`);
    body.push(text(left + 12, top + 14 + 16 * i, name, `style="fill:${colour}"`));
  });
  return frame(title, body);
}

/** Groups of bars with their values, one for each of `names`. */
export function barPlot(
  title: string,
  yLabel: string,
  names: readonly string[],
  groups: readonly { name: string; values: readonly number[] }[],
): string {
  const mostY = Math.max(...groups.flatMap(({ values }) => values));
  const y = (value: number) => height - bottom - (value / mostY) * (height - bottom - top - 12);
  const slot = (width - left - right) / groups.length;
  const bar = (slot * 0.8) / names.length;
  const body = [line(left, y(0), width - right, y(0)), text(8, top - 12, yLabel)];
  groups.forEach(({ name, values }, g) => {
    values.forEach((value, i) => {
      const at = left + g * slot + slot * 0.1 + i * bar;
      body.push(
        `<rect x="${at.toFixed(1)}" y="${y(value).toFixed(1)}" width="${(bar - 2).toFixed(1)}" height="${(y(0) - y(value)).toFixed(1)}" fill="${colours[i % colours.length]}"/>`,
        text(at + bar / 2, y(value) - 4, value >= 100 ? value.toFixed(0) : value.toFixed(1), 'text-anchor="middle"'),
      );
    });
    body.push(text(left + (g + 0.5) * slot, y(0) + 18, name, 'text-anchor="middle"'));
  });
  names.forEach((name, i) => {
    body.push(
      text(width - right, top - 2 + 15 * i, name, `text-anchor="end" style="fill:${colours[i % colours.length]}"`),
    );
  });
  return frame(title, body);
}
