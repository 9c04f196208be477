// Cells counted in squares of a grid, any number of them.

import { array } from "./marks.js";
import { inside } from "./polygons.js";
import { between, share } from "./symbols.js";
import { cells, thousands, number } from "./words.js";

const COUNTS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

export class Bins {
  constructor({ marks, ...picture }) {
    this.picture = picture;
    this.xEdges = marks.xEdges;
    this.yEdges = marks.yEdges;
    this.place = array(marks.place, Uint32Array); // of each square that holds cells: column times rows plus row
    this.counts = array(marks.counts, COUNTS[marks.bytes]); // of each such square, group by group
    this.value = marks.value && array(marks.value, Float32Array);
    this.absent = marks.absent;
    this.rows = this.yEdges.length - 1;
    this.index = new Map(Array.from(this.place, (p, k) => [p, k]));
    this.total = Float64Array.from(this.place, (_, k) => this.ofGroups(k).reduce((a, b) => a + b, 0));
    this.commonest = Uint16Array.from(this.place, (_, k) => {
      const counts = this.ofGroups(k);
      return counts.indexOf(Math.max(...counts));
    });
  }

  ofGroups(k) {
    const groups = this.picture.groups.length;
    return this.counts.subarray(k * groups, (k + 1) * groups);
  }

  // `chosen` in px; squares whose middle is not in it are faint. Of a `group` only its own cells are counted.
  draw(pen, plane, group, chosen) {
    const ratio = window.devicePixelRatio || 1;
    const snap = (px) => Math.round(px * ratio) / ratio; // whole pixels of the screen leave no seams
    const xs = this.xEdges.map((v) => snap(plane.toX(v)));
    const ys = this.yEdges.map((v) => snap(plane.toY(v)));
    const counts = group === null ? this.total : Array.from(this.place, (_, k) => this.ofGroups(k)[group]);
    const most = counts.reduce((a, b) => Math.max(a, b), 1);
    this.place.forEach((place, k) => {
      if (!counts[k]) return;
      const [i, j] = [Math.floor(place / this.rows), place % this.rows];
      const [x, y, w, h] = [xs[i], ys[j + 1], xs[i + 1] - xs[i], ys[j] - ys[j + 1]];
      const faint = chosen && !inside(chosen, x + w / 2, y + h / 2);
      pen.globalAlpha = (0.35 + 0.65 * (Math.log1p(counts[k]) / Math.log1p(most))) * (faint ? 0.25 : 1);
      pen.fillStyle = this.colourOf(k, group);
      pen.fillRect(x, y, w, h);
    });
    pen.globalAlpha = 1;
  }

  colourOf(k, group) {
    const { colour, groups, look } = this.picture;
    if (!colour) return groups[group ?? this.commonest[k]].colour;
    const tone = share(colour, this.value[k]);
    return Number.isNaN(tone) ? look.muted : between(colour.stops, tone);
  }

  // The square at a place in px; null where it holds no cell.
  find(plane, px) {
    const [x, y] = plane.toValues(px);
    const [i, j] = [this.xEdges.findIndex((edge) => edge > x), this.yEdges.findIndex((edge) => edge > y)];
    return i > 0 && j > 0 ? this.index.get((i - 1) * this.rows + j - 1) ?? null : null;
  }

  ringed() {
    return null; // a square is no cell
  }

  symbol() {
    return "square";
  }

  get someInNoGroup() {
    return false;
  }

  lines(k) {
    const { groups, colour } = this.picture;
    const counts = groups.map(({ name }, g) => [this.ofGroups(k)[g], name]).filter(([count]) => count);
    counts.sort((a, b) => b[0] - a[0]);
    return [
      `${cells(this.total[k])} here`,
      ...counts.map(([count, name]) => `${name}: ${thousands(count)}`),
      ...(colour ? [`${colour.title}, mean: ${number(this.value[k])}`] : []),
    ];
  }

  said() {
    const sum = this.total.reduce((a, b) => a + b, 0);
    const meaning = this.picture.colour ? "" : "; the colour is that of most of them";
    return [`${cells(sum)} counted in squares${meaning}.`];
  }
}
