// The part of a picture that is seen: how much it is enlarged and where its middle is, in the picture's own px.

const MAX_ZOOM = 16;

export class Viewport {
  constructor({ width, height }) {
    Object.assign(this, { width, height });
    this.fit();
  }

  fit() {
    Object.assign(this, { zoom: 1, x: this.width / 2, y: this.height / 2 });
  }

  // What lies at a place of the picture stays where it is seen: the middle, unless another is given.
  zoomBy(factor, at = { x: this.x, y: this.y }) {
    const zoom = Math.min(Math.max(this.zoom * factor, 1), MAX_ZOOM);
    const nearer = this.zoom / zoom;
    this.zoom = zoom;
    this.x = at.x + (this.x - at.x) * nearer;
    this.y = at.y + (this.y - at.y) * nearer;
    this.moveBy(0, 0); // what was seen at the edge of a small part is not the middle of a large one
  }

  // By so much of the whole picture's px as seen now: a picture enlarged twice moves half as far.
  moveBy(dx, dy) {
    const { width, height } = this.box;
    this.x = Math.min(Math.max(this.x + dx / this.zoom, width / 2), this.width - width / 2);
    this.y = Math.min(Math.max(this.y + dy / this.zoom, height / 2), this.height - height / 2);
  }

  get box() {
    const [width, height] = [this.width / this.zoom, this.height / this.zoom];
    return { left: this.x - width / 2, top: this.y - height / 2, width, height };
  }
}
