// Where values lie on the canvas, and the axes that say so.

import { fitting, line } from "./pen.js";
import { plain } from "./words.js";

// Room around the plot, px. Left of it stand the numbers, as wide as they are, and the title upright.
const ROOM = { top: 10, right: 12, foot: 46, title: 34 };

// Values to px and back, within the room that the axes leave.
export class Plane {
  constructor({ x, y, height }) {
    Object.assign(this, { x: scaleOf(x), y: scaleOf(y), width: 0, height, left: 60, top: ROOM.top });
  }

  get right() {
    return this.width - ROOM.right;
  }

  get foot() {
    return this.height - ROOM.foot;
  }

  toX(v) {
    return this.left + this.x.at(v) * (this.right - this.left);
  }

  toY(v) {
    return this.foot - this.y.at(v) * (this.foot - this.top);
  }

  toPx([x, y]) {
    return [this.toX(x), this.toY(y)];
  }

  toValues([px, py]) {
    return [
      this.x.value((px - this.left) / (this.right - this.left)),
      this.y.value((this.foot - py) / (this.foot - this.top)),
    ];
  }

  get middle() {
    return [(this.left + this.right) / 2, (this.top + this.foot) / 2];
  }

  // The nearest place, in px, that is not beyond the axes.
  within([px, py]) {
    return [Math.min(Math.max(px, this.left), this.right), Math.min(Math.max(py, this.top), this.foot)];
  }

  holds([x, y]) {
    return [this.x.at(x), this.y.at(y)].every((t) => t >= 0 && t <= 1);
  }
}

// Values as shares of an axis and back, and its ticks: values with their words, about n of them.
export function scaleOf({ low, high, log }) {
  if (!log) {
    return {
      at: (v) => (v - low) / (high - low),
      value: (t) => low + t * (high - low),
      ticks: (n) => linearTicks(low, high, n),
    };
  }
  const [a, b] = [Math.log(low), Math.log(high)];
  return {
    at: (v) => (v > 0 ? (Math.log(v) - a) / (b - a) : NaN),
    value: (t) => Math.exp(a + t * (b - a)),
    ticks: (n) => logTicks(low, high, n),
  };
}

function linearTicks(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((m) => m * power >= raw) ?? 10);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let k = Math.ceil(low / step) || 0; k * step <= high; k++) ticks.push([k * step, plain(k * step, digits)]);
  return ticks;
}

function logTicks(low, high, about) {
  if (Math.log10(high / low) < 0.8) return linearTicks(low, high, about);
  const within = (leads) => {
    const powers = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) powers.push(10 ** p);
    return powers.flatMap((power) => leads.map((m) => m * power)).filter((v) => v >= low && v <= high);
  };
  let ticks = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map(within).find((values) => values.length <= about + 1);
  if (!ticks) {
    const powers = within([1]);
    const every = Math.ceil(powers.length / about);
    ticks = powers.filter((v) => Math.round(Math.log10(v)) % every === 0);
  }
  return ticks.map((v) => [v, plain(v, Math.max(0, -Math.floor(Math.log10(v) + 1e-9)))]);
}

export function drawAxes(pen, plane, { x, y, look }) {
  const ys = plane.y.ticks(Math.round(plane.height / 55));
  plane.left = Math.ceil(Math.max(...ys.map(([, words]) => pen.measureText(words).width), 10)) + ROOM.title;
  const xs = plane.x.ticks(Math.max(3, Math.round((plane.width - plane.left) / 70)));
  pen.lineWidth = 1;
  pen.strokeStyle = look.grid;
  drawGrid(pen, plane, xs, ys);
  pen.fillStyle = look.muted;
  drawNumbers(pen, plane, xs, ys);
  pen.fillStyle = look.ink;
  drawTitles(pen, plane, x.title, y.title);
}

function drawGrid(pen, plane, xs, ys) {
  const sharp = (px) => Math.round(px) + 0.5;
  pen.beginPath();
  for (const [v] of xs) line(pen, sharp(plane.toX(v)), plane.top, sharp(plane.toX(v)), plane.foot);
  for (const [v] of ys) line(pen, plane.left, sharp(plane.toY(v)), plane.right, sharp(plane.toY(v)));
  pen.stroke();
}

function drawNumbers(pen, plane, xs, ys) {
  Object.assign(pen, { textBaseline: "top", textAlign: "center" });
  for (const [v, words] of xs) {
    const half = pen.measureText(words).width / 2;
    const px = Math.min(Math.max(plane.toX(v), plane.left + half - 8), plane.width - half - 1);
    pen.fillText(words, px, plane.foot + 6);
  }
  Object.assign(pen, { textBaseline: "middle", textAlign: "right" });
  for (const [v, words] of ys) pen.fillText(words, plane.left - 6, plane.toY(v));
}

function drawTitles(pen, plane, x, y) {
  const [across, up] = plane.middle;
  Object.assign(pen, { textBaseline: "alphabetic", textAlign: "center" });
  pen.fillText(fitting(pen, x, plane.right - plane.left), across, plane.height - 10);
  pen.save();
  pen.translate(14, up);
  pen.rotate(-Math.PI / 2);
  pen.fillText(fitting(pen, y, plane.foot - plane.top), 0, 0);
  pen.restore();
}
