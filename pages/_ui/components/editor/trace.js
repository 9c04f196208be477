// The borders between pixels in and out, as closed lines along the pixels' own sides: what is seen is what is measured.

export class Tracer {
  constructor(width, height) {
    Object.assign(this, { width, height, seen: new Uint8Array(width * height), turn: 0 });
  }

  // Lines around all that is at least `least` within the box, each a flat list of corners x, y.
  rings(labels, least, box) {
    const { width, height, seen } = this;
    if (++this.turn > 255) {
      seen.fill(0);
      this.turn = 1;
    }
    const rings = [];
    const holds = (x, y) => x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] >= least;
    for (let y = box.y0; y < box.y1; y++) {
      for (let x = box.x0, i = y * width + x; x < box.x1; x++, i++) {
        // Every line runs along the upper side of some pixel, from left to right.
        if (labels[i] < least || (y > 0 && labels[i - width] >= least) || seen[i] === this.turn) continue;
        rings.push(this.follow(x, y, holds));
      }
    }
    return rings;
  }

  // From the upper left corner of a pixel on, what is in on the right hand.
  follow(startX, startY, holds) {
    const ring = [];
    let [x, y, dx, dy] = [startX, startY, 1, 0];
    do {
      if (dx === 1) this.seen[y * this.width + x] = this.turn;
      x += dx;
      y += dy;
      // The pixels ahead of the corner, on the right hand and on the left.
      const right = holds(x + (dx - dy - 1) / 2, y + (dy + dx - 1) / 2);
      const left = holds(x + (dx + dy - 1) / 2, y + (dy - dx - 1) / 2);
      if (right && !left) continue;
      ring.push(x, y);
      [dx, dy] = right ? [dy, -dx] : [-dy, dx];
    } while (x !== startX || y !== startY || dx !== 1);
    return ring;
  }
}

export function pathOf(rings) {
  const path = new Path2D();
  for (const ring of rings) {
    path.moveTo(ring[0], ring[1]);
    for (let k = 2; k < ring.length; k += 2) path.lineTo(ring[k], ring[k + 1]);
    path.closePath();
  }
  return path;
}
