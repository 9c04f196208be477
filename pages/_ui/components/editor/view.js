// The part of the image that is seen: `scale` is CSS px per pixel of the image, whose corner lies at x, y.

const MOST_SCALE = 64;
const LEAST_SEEN_PX = 40; // of the image, wherever it is moved to
const AROUND = 1.7; // times the cell's own sides are seen at first

export class View {
  // `home` is the box of the cell, which is shown at first where it is a small part of the image.
  constructor(width, height, home = null) {
    Object.assign(this, { width, height, home, near: true, scale: 1, x: 0, y: 0, room: { width: 1, height: 1 }, touched: false });
  }

  // `touched` is whether a person has chosen the part, which then stays when the page is resized.
  resize(width, height) {
    this.room = { width, height };
    if (this.touched) this.settle();
    else if (this.near) this.fit();
    else this.whole();
  }

  get least() {
    return Math.min(this.room.width / this.width, this.room.height / this.height, MOST_SCALE);
  }

  // The cell with some room around it.
  fit() {
    const { room, home } = this;
    this.whole();
    if (!home) return;
    const [across, down] = [home.x1 - home.x0, home.y1 - home.y0];
    const scale = Math.min(room.width / (AROUND * across), room.height / (AROUND * down), MOST_SCALE);
    if (scale <= this.least) return;
    this.scale = scale;
    this.x = room.width / 2 - ((home.x0 + home.x1) / 2) * scale;
    this.y = room.height / 2 - ((home.y0 + home.y1) / 2) * scale;
    this.settle();
    this.near = true;
  }

  whole() {
    this.touched = this.near = false;
    this.scale = this.least;
    this.x = (this.room.width - this.width * this.scale) / 2;
    this.y = (this.room.height - this.height * this.scale) / 2;
  }

  // From the cell to the whole image, and from anywhere else to the cell.
  toggle() {
    if (this.near && !this.touched) this.whole();
    else this.fit();
  }

  zoomAt(factor, cx = this.room.width / 2, cy = this.room.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.least), MOST_SCALE);
    if (scale === this.least) return this.whole();
    this.touched = true;
    this.x = cx - ((cx - this.x) * scale) / this.scale;
    this.y = cy - ((cy - this.y) * scale) / this.scale;
    this.scale = scale;
    return this.settle();
  }

  moveBy(dx, dy) {
    this.touched = true;
    this.x += dx;
    this.y += dy;
    this.settle();
  }

  // So far that a place of the image is seen.
  show({ x, y }) {
    const margin = Math.min(24, this.room.width / 4);
    const [px, py] = [x * this.scale + this.x, y * this.scale + this.y];
    const dx = Math.max(margin - px, 0) + Math.min(this.room.width - margin - px, 0);
    const dy = Math.max(margin - py, 0) + Math.min(this.room.height - margin - py, 0);
    if ((dx || dy) && this.scale > this.least) this.moveBy(dx, dy);
  }

  settle() {
    const { room, scale } = this;
    this.scale = Math.min(Math.max(scale, this.least), MOST_SCALE);
    this.x = Math.min(Math.max(this.x, LEAST_SEEN_PX - this.width * scale), room.width - LEAST_SEEN_PX);
    this.y = Math.min(Math.max(this.y, LEAST_SEEN_PX - this.height * scale), room.height - LEAST_SEEN_PX);
  }

  toImage(px, py) {
    return { x: (px - this.x) / this.scale, y: (py - this.y) / this.scale };
  }
}
