// A stochastic beam: the likeliest sequences under noise.

import type { Growth, Shape } from "./growth.ts";
import type { Drawn, Sketch } from "./sketch.ts";

/** log(1 - exp(x)) for x up to 0, without loss near 0 and far from it. */
function log1mexp(x: number): number {
  return x > -Math.LN2 ? Math.log(-Math.expm1(x)) : Math.log1p(-Math.exp(x));
}

/**
 * The perturbed log-probability of a child, given that the largest among its siblings is that of their parent:
 * psi = -log(exp(-parent) - exp(-largest) + exp(-value))  (arXiv:1903.06059, appendix B.3).
 * @param parent psi of the parent
 * @param largest of the siblings' values
 * @param value log-probability of the child's sequence, with a Gumbel variable added
 */
export function conditionedValue(parent: number, largest: number, value: number): number {
  // exp(-psi) = exp(-parent) (1 + exp(v)), and log(1 + exp(v)) without overflow.
  const v = parent - value + log1mexp(Math.min(0, value - largest));
  return parent - Math.max(0, v) - Math.log1p(Math.exp(-Math.abs(v)));
}

class BeamGrowth implements Growth {
  readonly draws: number;
  // Of each node: log-probability of its sequence, and that under noise.
  readonly #phi = [0];
  readonly #psi = [0];

  constructor(width: number) {
    this.draws = width;
  }

  grow(sketch: Sketch, rows: readonly number[], drawn: readonly (readonly Drawn[])[]): number[] {
    const candidates = rows.flatMap((row, i) => {
      const phi = this.#phi[row];
      const ofDraw = (draw: Drawn) => ({
        ...{ row, draw, phi: phi + draw.logq },
        psi: conditionedValue(this.#psi[row], phi + drawn[i][0].value, phi + draw.value),
      });
      return drawn[i].map(ofDraw);
    });
    candidates.sort((a, b) => b.psi - a.psi); // stable: of equals the earlier row and draw
    return candidates.slice(0, this.draws).map(({ row, draw, phi, psi }) => {
      this.#phi.push(phi);
      this.#psi.push(psi);
      return sketch.add(row, draw.token, draw.share);
    });
  }
}

/**
 * The `width` sequences of largest perturbed log-probability at every level: a draw of sequences without replacement (RSD-S, arXiv:2402.14160; stochastic beam search,
 * arXiv:1903.06059). The chain of first draws is always among them.
 */
export class BeamShape implements Shape {
  readonly depth: number;
  readonly #width: number;

  constructor(width: number, depth: number) {
    this.#width = width;
    this.depth = depth;
  }

  start(): Growth {
    return new BeamGrowth(this.#width);
  }
}
