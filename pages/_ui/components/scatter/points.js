// Cells as symbols, up to 20,000.

import { array } from "./marks.js";
import { inside } from "./polygons.js";
import { between, share, stamp } from "./symbols.js";
import { cells, thousands, number } from "./words.js";

const FEW = 200;
const TONES = 31; // steps of the colour bar, each a stamp
const GOLDEN = 0.618034;

export class Points {
  constructor({ marks, ...picture }) {
    this.picture = picture;
    this.x = array(marks.x, Float32Array);
    this.y = array(marks.y, Float32Array);
    this.group = array(marks.group, Int16Array);
    this.value = marks.value && array(marks.value, Float32Array);
    this.words = marks.words;
    this.of = marks.of;
    this.n = this.x.length;
    this.at = { x: new Float32Array(this.n).fill(NaN), y: new Float32Array(this.n).fill(NaN) }; // where each is drawn
    this.absent = 0;
  }

  // `chosen` in px; all but the cells in it, and all but those of `group`, are faint.
  draw(pen, plane, group, chosen) {
    const stampOf = this.stamps(plane.width);
    const strong = this.picture.colour || this.n <= FEW ? 0.9 : this.n <= 3000 ? 0.75 : 0.55;
    this.absent = 0;
    for (const i of scattered(this.n)) {
      const [px, py] = plane.toPx([this.x[i], this.y[i]]);
      const shown = Number.isFinite(px) && Number.isFinite(py);
      [this.at.x[i], this.at.y[i]] = shown ? [px, py] : [NaN, NaN];
      if (!shown) {
        this.absent++;
        continue;
      }
      const faint =
        this.group[i] < 0 || (group !== null && this.group[i] !== group) || (chosen && !inside(chosen, px, py));
      pen.globalAlpha = faint ? 0.15 : strong;
      const { canvas, side } = stampOf(i);
      pen.drawImage(canvas, px - side / 2, py - side / 2, side, side);
    }
    pen.globalAlpha = 1;
  }

  // From a cell to its stamp, the smaller the more cells there are and the narrower the picture is.
  stamps(width) {
    const { colour, look } = this.picture;
    const room = Math.min(1, Math.max(0.75, Math.sqrt(width / 1000)));
    const radius = room * (this.n <= FEW ? 5.5 : Math.max(2.2, 5.5 - 1.65 * Math.log10(this.n / FEW)));
    const made = new Map();
    return (i) => {
      const tone = colour ? Math.round(share(colour, this.value[i]) * TONES) : null;
      const key = `${this.group[i]} ${tone}`;
      if (!made.has(key)) {
        const group = this.groupOf(i);
        const fill = !colour ? group.colour : Number.isNaN(tone) ? look.muted : between(colour.stops, tone / TONES);
        made.set(key, stamp(group.shape, fill, colour ? look.paper : group.edge, radius));
      }
      return made.get(key);
    };
  }

  groupOf(i) {
    const { groups, none, look } = this.picture;
    return groups[this.group[i]] ?? { name: none, colour: look.muted, edge: look.muted, shape: "circle" };
  }

  // The nearest cell, of `group` if there is one, as far as `reach` px from a place; null where there is none.
  find(plane, [px, py], group, reach) {
    let [least, nearest] = [reach * reach, null];
    for (let i = 0; i < this.n; i++) {
      if (group !== null && this.group[i] !== group) continue;
      const distance = (this.at.x[i] - px) ** 2 + (this.at.y[i] - py) ** 2; // nan is never less
      if (distance < least) [least, nearest] = [distance, i];
    }
    return nearest;
  }

  // The values of a cell that a ring can be drawn around.
  ringed(i) {
    return [this.x[i], this.y[i]];
  }

  symbol(group) {
    return group.shape;
  }

  get someInNoGroup() {
    return this.group.some((group) => group < 0);
  }

  lines(i) {
    const { x, y, colour } = this.picture;
    const values = [[x, this.x], [y, this.y]];
    if (colour) values.push([colour, this.value]);
    return [
      this.groupOf(i).name,
      ...(this.words.length ? [this.words[i]] : []),
      ...values.map(([{ title }, of]) => `${title}: ${number(of[i])}`),
    ];
  }

  said() {
    const sampled = this.of !== null && this.of > this.n;
    return sampled ? [`${cells(this.n)} drawn of ${thousands(this.of)}, by chance.`] : [];
  }
}

// 0 to n - 1, each a golden section of n after the last: no group lies on top only because it comes last.
export function* scattered(n) {
  const common = (a, b) => (b ? common(b, a % b) : a);
  let stride = Math.max(1, Math.round(n * GOLDEN));
  while (n > 1 && common(stride, n) !== 1) stride++;
  for (let k = 0, i = 0; k < n; k++, i = (i + stride) % n) yield i;
}
