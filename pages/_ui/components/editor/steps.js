// What was done, to be undone and done again. A step is the rectangle that it changed and the runs of its changes, so
// that one which goes over the whole image takes kilobytes, not megabytes.

import { eachRun, packRuns } from "./runs.js";

const CHANGES = [[0, 0], [0, 2], [0, 3], [2, 0], [2, 3], [3, 0], [3, 2]]; // code 0: the pixel stayed what it was
const CHANGE_CODES = CHANGES.reduce((codes, [from, to], code) => ((codes[4 * from + to] = code), codes), new Uint8Array(16));
const CHANGE_BITS = 3;

export class Steps {
  constructor(most = 1000, mostBytes = 48 * 2 ** 20) {
    Object.assign(this, { most, mostBytes, done: [], undone: [] });
  }

  get bytes() {
    return [...this.done, ...this.undone].reduce((sum, step) => sum + step.runs.length, 0);
  }

  // False where nothing has changed.
  record(raster, before, box) {
    const step = changesIn(raster, before, box);
    if (!step) return false;
    this.done.push(step);
    this.undone = [];
    for (let { bytes } = this; this.done.length > 1 && (this.done.length > this.most || bytes > this.mostBytes); ) {
      bytes -= this.done.shift().runs.length;
    }
    return true;
  }

  // The rectangle that was changed, or null.
  undo(raster) {
    return moveStep(raster, this.done, this.undone, 0);
  }

  redo(raster) {
    return moveStep(raster, this.undone, this.done, 1);
  }
}

function moveStep({ labels, width }, from, to, side) {
  const step = from.pop();
  if (!step) return null;
  to.push(step);
  const across = step.x1 - step.x0;
  eachRun(step.runs, CHANGE_BITS, (at, length, code) => {
    if (!code) return;
    for (let k = at; k < at + length; k++) {
      labels[(step.y0 + Math.floor(k / across)) * width + step.x0 + (k % across)] = CHANGES[code][side];
    }
  });
  return step;
}

function changesIn({ labels, width }, before, box) {
  const tight = { x0: Infinity, y0: Infinity, x1: 0, y1: 0 };
  for (let y = box.y0; y < box.y1; y++) {
    for (let x = box.x0, i = y * width + x; x < box.x1; x++, i++) {
      if (labels[i] === before[i]) continue;
      if (x < tight.x0) tight.x0 = x;
      if (x >= tight.x1) tight.x1 = x + 1;
      if (y < tight.y0) tight.y0 = y;
      tight.y1 = y + 1;
    }
  }
  if (!tight.x1) return null;
  const across = tight.x1 - tight.x0;
  const codes = new Uint8Array(across * (tight.y1 - tight.y0));
  for (let y = tight.y0, k = 0; y < tight.y1; y++) {
    for (let i = y * width + tight.x0, end = i + across; i < end; i++) codes[k++] = CHANGE_CODES[4 * before[i] + labels[i]];
  }
  return { ...tight, runs: packRuns(codes, CHANGE_BITS) };
}
