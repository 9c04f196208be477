// The label raster at the image's own resolution is the truth; all tools change it, and canvases only show it. A pixel
// belongs to what its centre lies in. Parts are connected over sides, not over corners, as in core.image.masks.

export const BACKGROUND = 0;
export const CYTOPLASM = 2; // 1, the environment, is a ring that Python draws
export const NUCLEUS = 3;
export const SPECK_SHARE = 0.03; // a piece of nucleus, or a gap in it, below this share of it is taken for a slip
export const WAND_REACH_PX = 400; // to each side, so that the wand keeps up with the pointer on any image

export class Raster {
  // `keepOut` is 2 where other cells are: never painted.
  constructor(width, height, labels, keepOut = null) {
    Object.assign(this, { width, height, labels, keepOut });
  }

  get whole() {
    return { x0: 0, y0: 0, x1: this.width, y1: this.height };
  }

  labelAt({ x, y }, labels = this.labels) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return BACKGROUND;
    return labels[row * this.width + column];
  }

  // A brush is { label, spare }: one that spares does not paint over the nucleus.
  set(i, { label, spare }) {
    if (this.keepOut?.[i] || (spare && this.labels[i] === NUCLEUS)) return;
    this.labels[i] = label;
  }
}

// All pixels that a disc of this diameter passes on its way from a to b; one of 1 px sets those that the way crosses.
// Gives the rectangle that was touched.
export function drawLine(raster, a, b, diameter, brush) {
  if (diameter <= 1) return drawWay(raster, a, b, brush);
  const { width, height } = raster;
  const r = diameter / 2;
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const long = dx * dx + dy * dy;
  const near = (column, py) => {
    const [ux, uy] = [column + 0.5 - a.x, py - a.y];
    const t = long > 0 ? Math.min(Math.max((ux * dx + uy * dy) / long, 0), 1) : 0;
    const [ex, ey] = [ux - t * dx, uy - t * dy];
    return ex * ex + ey * ey < r * r;
  };
  const y0 = Math.max(Math.floor(Math.min(a.y, b.y) - r), 0);
  const y1 = Math.min(Math.ceil(Math.max(a.y, b.y) + r), height);
  for (let y = y0; y < y1; y++) {
    // What is painted of a row is one stretch around the place where the row comes nearest to the way.
    const t = dy === 0 ? 0 : Math.min(Math.max((y + 0.5 - a.y) / dy, 0), 1);
    const middle = Math.floor(a.x + t * dx - 0.5);
    for (let x = middle; near(x, y + 0.5); x--) if (x >= 0 && x < width) raster.set(y * width + x, brush);
    for (let x = middle + 1; near(x, y + 0.5); x++) if (x >= 0 && x < width) raster.set(y * width + x, brush);
  }
  const x0 = Math.max(Math.floor(Math.min(a.x, b.x) - r), 0);
  return { x0, y0, x1: Math.min(Math.ceil(Math.max(a.x, b.x) + r), width), y1 };
}

// Over sides only, so that a thin line hangs together.
function drawWay(raster, a, b, brush) {
  const { width, height } = raster;
  let [x, y] = [Math.floor(a.x), Math.floor(a.y)];
  const [endX, endY] = [Math.floor(b.x), Math.floor(b.y)];
  const box = { x0: Math.max(Math.min(x, endX), 0), y0: Math.max(Math.min(y, endY), 0) };
  box.x1 = Math.min(Math.max(x, endX) + 1, width);
  box.y1 = Math.min(Math.max(y, endY) + 1, height);
  const [stepX, stepY] = [Math.sign(endX - x), Math.sign(endY - y)];
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  for (;;) {
    if (x >= 0 && y >= 0 && x < width && y < height) raster.set(y * width + x, brush);
    if (x === endX && y === endY) return box;
    // How far along the way the next column and the next row begin; through a corner it goes by the row.
    const nextX = x === endX ? Infinity : (x + (stepX > 0 ? 1 : 0) - a.x) / dx;
    const nextY = y === endY ? Infinity : (y + (stepY > 0 ? 1 : 0) - a.y) / dy;
    if (nextX < nextY) x += stepX;
    else y += stepY;
  }
}

// Marks all that hangs together with `start` and is 1 in the mask; the places come first in `room`, their number back.
function floodMask(mask, width, start, room, mark) {
  let tail = 1;
  mask[start] = mark;
  room[0] = start;
  const last = mask.length - width;
  for (let head = 0; head < tail; head++) {
    const i = room[head];
    const x = i % width;
    if (x > 0 && mask[i - 1] === 1) (mask[i - 1] = mark), (room[tail++] = i - 1);
    if (x < width - 1 && mask[i + 1] === 1) (mask[i + 1] = mark), (room[tail++] = i + 1);
    if (i >= width && mask[i - width] === 1) (mask[i - width] = mark), (room[tail++] = i - width);
    if (i < last && mask[i + width] === 1) (mask[i + width] = mark), (room[tail++] = i + width);
  }
  return tail;
}

// The wand paints what hangs together with the place under it and has nearly its colour: within `tolerance` in RGB of
// the mean of the 3 x 3 px there. `rgba` is the image. Gives the rectangle that was touched.
export function wandAt(raster, rgba, x, y, tolerance, brush) {
  const { width, height, keepOut } = raster;
  const sum = [0, 0, 0];
  let n = 0;
  for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, height - 1); v++) {
    for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, width - 1); u++, n++) {
      for (let c = 0; c < 3; c++) sum[c] += rgba[4 * (v * width + u) + c];
    }
  }
  const box = { x0: Math.max(x - WAND_REACH_PX, 0), y0: Math.max(y - WAND_REACH_PX, 0) };
  box.x1 = Math.min(x + WAND_REACH_PX + 1, width);
  box.y1 = Math.min(y + WAND_REACH_PX + 1, height);
  const across = box.x1 - box.x0;
  const mask = new Uint8Array(across * (box.y1 - box.y0));
  const most = n * n * tolerance * tolerance;
  for (let v = box.y0, k = 0; v < box.y1; v++) {
    for (let u = box.x0; u < box.x1; u++, k++) {
      const i = v * width + u;
      if (keepOut?.[i]) continue;
      const r = rgba[4 * i] * n - sum[0];
      const g = rgba[4 * i + 1] * n - sum[1];
      const b = rgba[4 * i + 2] * n - sum[2];
      if (r * r + g * g + b * b <= most) mask[k] = 1;
    }
  }
  const start = (y - box.y0) * across + x - box.x0;
  if (keepOut?.[y * width + x]) return { ...box, x1: box.x0, y1: box.y0 };
  const room = new Int32Array(mask.length);
  const count = floodMask(mask, across, start, room, 2);
  for (let k = 0; k < count; k++) {
    raster.set((box.y0 + Math.floor(room[k] / across)) * width + box.x0 + (room[k] % across), brush);
  }
  return box;
}

// The rows and columns of what is drawn; null where nothing is.
export function boxOf(labels, width) {
  const box = { x0: width, y0: Infinity, x1: 0, y1: 0 };
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] < CYTOPLASM) continue;
    const [x, y] = [i % width, Math.floor(i / width)];
    box.x0 = Math.min(box.x0, x);
    box.x1 = Math.max(box.x1, x + 1);
    box.y0 = Math.min(box.y0, y);
    box.y1 = y + 1;
  }
  return box.x1 ? box : null;
}

export function joinedBox(a, b) {
  if (!a || !b) return a ?? b;
  const [x0, y0] = [Math.min(a.x0, b.x0), Math.min(a.y0, b.y0)];
  return { x0, y0, x1: Math.max(a.x1, b.x1), y1: Math.max(a.y1, b.y1) };
}

// The rectangle around all that is drawn, and one pixel more where there is one; null where nothing is.
export function drawnBox({ labels, width, height }) {
  const drawn = (label) => label !== BACKGROUND;
  const first = labels.findIndex(drawn);
  if (first < 0) return null;
  const [y0, y1] = [first, labels.findLastIndex(drawn)].map((i) => Math.floor(i / width));
  let [x0, x1] = [width, 0];
  for (let y = y0; y <= y1; y++) {
    let [x, end] = [0, width - 1];
    while (x < x0 && !labels[y * width + x]) x++;
    while (end > x1 && !labels[y * width + end]) end--;
    [x0, x1] = [x, end];
  }
  const atEdge = x0 === 0 || y0 === 0 || x1 === width - 1 || y1 === height - 1;
  const [left, top] = [Math.max(x0 - 1, 0), Math.max(y0 - 1, 0)];
  return { x0: left, y0: top, x1: Math.min(x1 + 2, width), y1: Math.min(y1 + 2, height), atEdge };
}

// What hangs together among the pixels of the box that `holds(label)`, each with its size and its places in the image;
// with `enclosed` only what does not reach the edge of the box.
function partsOf(raster, box, holds, enclosed = false) {
  const { labels, width } = raster;
  const across = box.x1 - box.x0;
  const down = box.y1 - box.y0;
  const mask = new Uint8Array(across * down);
  const kinds = Uint8Array.from([0, 1, 2, 3], (label) => (holds(label) ? 1 : 0));
  for (let y = 0, k = 0; y < down; y++) {
    for (let i = (y + box.y0) * width + box.x0, end = i + across; i < end; i++) mask[k++] = kinds[labels[i]];
  }
  const room = new Int32Array(mask.length);
  if (enclosed) {
    const clear = (k) => mask[k] === 1 && floodMask(mask, across, k, room, 0);
    for (let x = 0; x < across; x++) clear(x), clear((down - 1) * across + x);
    for (let y = 0; y < down; y++) clear(y * across), clear(y * across + across - 1);
  }
  const parts = [];
  const place = (k) => (box.y0 + Math.floor(k / across)) * width + box.x0 + (k % across);
  for (let k = mask.indexOf(1); k >= 0; k = mask.indexOf(1, k)) {
    const size = floodMask(mask, across, k, room, 0);
    const own = room.slice(0, size);
    // Places are asked of small parts only: those of a whole cell take longer than finding it.
    parts.push({ size, first: place(k), places: () => own.map(place) });
  }
  return parts;
}

// All holes of the cell and of the nucleus.
export function fillHoles(raster) {
  const box = drawnBox(raster);
  if (!box) return;
  for (const [label, brush] of [[CYTOPLASM, { label: CYTOPLASM }], [NUCLEUS, { label: NUCLEUS }]]) {
    for (const part of partsOf(raster, box, (v) => v < label, true)) {
      for (const i of part.places()) raster.set(i, brush);
    }
  }
}

// The part of the cell at a place.
export function dropPart(raster, i) {
  const mask = raster.labels.map((label) => (label >= CYTOPLASM ? 1 : 0));
  if (!mask[i]) return;
  const room = new Int32Array(mask.length);
  const count = floodMask(mask, raster.width, i, room, 2);
  for (const at of room.subarray(0, count)) raster.set(at, { label: BACKGROUND });
}

export function areas(labels) {
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < labels.length; i++) counts[labels[i]]++;
  return { cell: counts[CYTOPLASM] + counts[NUCLEUS], nucleus: counts[NUCLEUS] };
}

// What of the drawing looks like a slip: `marks` are pieces off the largest part of the cell, holes in it, specks of
// nucleus and gaps in it, each with the label that would mend it.
export function survey(raster, { nucleus } = areas(raster.labels)) {
  const { labels, keepOut, width } = raster;
  const box = drawnBox(raster);
  const found = { parts: 0, marks: [], atEdge: Boolean(box?.atEdge), box };
  if (!box) return found;
  const add = (kind, part, label) => {
    const places = part.places();
    if (kind === "hole" && keepOut && places.every((i) => keepOut[i])) return; // it holds another cell
    found.marks.push({ kind, label, places, ...circleAround(places, width) });
  };
  const parts = partsOf(raster, box, (v) => v >= CYTOPLASM);
  const main = parts.reduce((a, b) => (b.size > a.size ? b : a));
  found.parts = parts.length;
  for (const part of parts) if (part !== main) add("piece", part, BACKGROUND);
  for (const part of partsOf(raster, box, (v) => v < CYTOPLASM, true)) add("hole", part, CYTOPLASM);
  const small = ({ size }) => size < SPECK_SHARE * nucleus;
  for (const part of partsOf(raster, box, (v) => v === NUCLEUS)) if (small(part)) add("speck", part, CYTOPLASM);
  for (const part of partsOf(raster, box, (v) => v < NUCLEUS, true)) {
    if (small(part) && labels[part.first] === CYTOPLASM) add("gap", part, NUCLEUS);
  }
  return found;
}

function circleAround(part, width) {
  let [x0, x1, y0, y1] = [Infinity, 0, Infinity, 0];
  for (const i of part) {
    const x = i % width;
    const y = Math.floor(i / width);
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
  }
  return { x: (x0 + x1 + 1) / 2, y: (y0 + y1 + 1) / 2, r: Math.hypot(x1 - x0 + 1, y1 - y0 + 1) / 2 };
}

export function mend(raster, marks) {
  for (const { places, label, kind } of marks) {
    // A speck that lies on a piece that went before it goes with the piece.
    for (const i of places) if (kind !== "speck" || raster.labels[i] === NUCLEUS) raster.set(i, { label });
  }
}

// Everything that is marked; a hole in the nucleus becomes a gap in it first.
export function tidy(raster) {
  mend(raster, survey(raster).marks);
  mend(raster, survey(raster).marks);
}

// Each pixel becomes what most of the disc around it is: cell or not, and nucleus or not.
export function smooth(raster, radius) {
  const box = drawnBox(raster);
  if (!box) return;
  const { labels, width, height } = raster;
  const [y0, y1] = [Math.max(box.y0 - radius, 0), Math.min(box.y1 + radius, height)];
  const [x0, x1] = [Math.max(box.x0 - radius, 0), Math.min(box.x1 + radius, width)];
  // Sums along each row, so that a stretch of it is counted in one step.
  const across = x1 - x0 + 1;
  const cells = new Int32Array(across * (y1 - y0));
  const nuclei = new Int32Array(cells.length);
  for (let y = y0; y < y1; y++) {
    for (let x = x0, k = (y - y0) * across; x < x1; x++, k++) {
      const label = labels[y * width + x];
      cells[k + 1] = cells[k] + (label >= CYTOPLASM ? 1 : 0);
      nuclei[k + 1] = nuclei[k] + (label === NUCLEUS ? 1 : 0);
    }
  }
  const spans = [];
  for (let dy = -radius; dy <= radius; dy++) spans.push([dy, Math.floor(Math.sqrt((radius + 0.5) ** 2 - dy * dy))]);
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      let [all, cell, nucleus] = [0, 0, 0];
      for (const [dy, reach] of spans) {
        if (y + dy < 0 || y + dy >= height) continue;
        all += Math.min(x + reach, width - 1) - Math.max(x - reach, 0) + 1;
        if (y + dy < y0 || y + dy >= y1) continue;
        const row = (y + dy - y0) * across - x0;
        const start = row + Math.max(x - reach, x0);
        const end = row + Math.min(x + reach + 1, x1);
        cell += cells[end] - cells[start];
        nucleus += nuclei[end] - nuclei[start];
      }
      const label = 2 * nucleus > all ? NUCLEUS : 2 * cell > all ? CYTOPLASM : BACKGROUND;
      raster.set(y * width + x, { label });
    }
  }
}

// Dice of what is at least `least` in two rasters; 1 where there is nothing in either.
export function dice(a, b, least) {
  let [both, sum] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const inA = a[i] >= least ? 1 : 0;
    const inB = b[i] >= least ? 1 : 0;
    sum += inA + inB;
    both += inA & inB;
  }
  return sum ? (2 * both) / sum : 1;
}
