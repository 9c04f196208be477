// What is seen: the image, other cells hatched, the model's outline, the outline that is drawn, slips ringed, the brush.

import { CYTOPLASM, NUCLEUS, joinedBox } from "./raster.js";
import { Tracer, pathOf } from "./trace.js";

const SQUARES_ABOVE = 2; // px of the screen per pixel: above it pixels are shown as squares
const LEAST_RING_PX = 9;
// Each line has a casing of the other brightness, so that it is seen on stained ground and on pale ground: of two that
// differ by 9 : 1 one differs by 3 : 1 from any ground. So the blue is darker than in core.domain.compartments.
const LINES = {
  cell: { least: CYTOPLASM, colour: "#E69F00", width: 2, casing: "#000000", wide: 4, dash: [6, 3] },
  nucleus: { least: NUCLEUS, colour: "#313F9F", width: 2, casing: "#FFFFFF", wide: 4.4, dash: [] },
};
const MODEL_LINE = { colour: "#FFFFFF", width: 1.2, casing: "#000000", wide: 2.6, dash: [3, 3] };

export class Painter {
  constructor(canvas, raster, model, view) {
    Object.assign(this, { canvas, raster, view, image: null, hover: null, cross: null, marks: [] });
    this.showModel = true;
    this.ctx = canvas.getContext("2d");
    this.ground = document.createElement("canvas");
    this.groundOf = "";
    this.tracer = new Tracer(raster.width, raster.height);
    this.paths = null;
    this.model = Object.values(LINES).map(({ least }) => this.trace(model, least, raster.whole));
    this.others = raster.keepOut && this.trace(raster.keepOut, 1, raster.whole);
    this.frame = 0;
  }

  trace(labels, least, box) {
    return pathOf(this.tracer.rings(labels, least, box));
  }

  // The raster is another than it was, within the box or anywhere. All that is drawn lies in `this.box`.
  changed(box = this.raster.whole) {
    this.box = joinedBox(this.box, box);
    this.paths = null;
    this.ask();
  }

  ask() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  leave() {
    cancelAnimationFrame(this.frame);
  }

  draw() {
    const { canvas, ctx, view, raster } = this;
    const { width, height } = view.room;
    const k = devicePixelRatio;
    const [across, down] = [Math.max(Math.round(width * k), 1), Math.max(Math.round(height * k), 1)];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    // The canvas is a whole number of px of the screen and the place it fills need not be.
    const [kx, ky] = [across / width, down / height];
    // It is shown at whole px, too, wherever its corner lies.
    const box = canvas.getBoundingClientRect();
    const [sx, sy] = [box.left * k - Math.round(box.left * k), box.top * k - Math.round(box.top * k)];
    const place = [kx * view.scale, 0, 0, ky * view.scale, kx * view.x + sx, ky * view.y + sy];
    this.drawGround(kx, ky, place);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalCompositeOperation = "copy";
    ctx.drawImage(this.ground, 0, 0);
    ctx.globalCompositeOperation = "source-over";
    ctx.setTransform(...place);
    if (!this.paths) {
      const box = this.box ?? raster.whole;
      this.paths = Object.values(LINES).map(({ least }) => this.trace(raster.labels, least, box));
    }
    ctx.lineJoin = "round";
    const [cell, nucleus] = this.paths;
    ctx.fillStyle = LINES.cell.colour;
    ctx.globalAlpha = 0.1;
    ctx.fill(cell, "evenodd");
    ctx.fillStyle = LINES.nucleus.colour;
    ctx.fill(nucleus, "evenodd");
    ctx.globalAlpha = 1;
    Object.values(LINES).forEach((line, i) => this.stroke(this.paths[i], line));
    for (const mark of this.marks) this.ring(mark, Math.max(mark.r + 4 / view.scale, LEAST_RING_PX / view.scale));
    if (this.hover) this.ring({ ...this.hover, thin: true }, Math.max(this.hover.size / 2, 0.5));
    if (this.cross) this.drawCross(this.cross);
  }

  // The image, the model's outline and the other cells, drawn anew only when another part is seen.
  drawGround(kx, ky, place) {
    const { ground, canvas, view, raster, image } = this;
    const of = [canvas.width, canvas.height, ...place, Boolean(image), this.showModel].join();
    if (of === this.groundOf) return;
    this.groundOf = of;
    [ground.width, ground.height] = [canvas.width, canvas.height];
    const ctx = ground.getContext("2d");
    ctx.setTransform(...place);
    ctx.imageSmoothingEnabled = view.scale * kx < SQUARES_ABOVE;
    ctx.imageSmoothingQuality = "medium";
    if (image) ctx.drawImage(image, 0, 0, raster.width, raster.height);
    if (this.showModel) for (const path of this.model) this.stroke(path, MODEL_LINE, ctx);
    if (!this.others) return;
    ctx.clip(this.others, "evenodd");
    ctx.setTransform(kx, 0, 0, ky, 0, 0);
    const { width, height } = view.room;
    for (const [colour, shift] of [["rgba(255,255,255,.75)", 0], ["rgba(0,0,0,.7)", 2]]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      for (let x = -height + shift; x < width; x += 9) ctx.moveTo(x, height), ctx.lineTo(x + height, 0);
      ctx.stroke();
    }
  }

  stroke(path, { colour, width, casing, wide, dash }, ctx = this.ctx) {
    const { view } = this;
    ctx.strokeStyle = casing;
    ctx.lineWidth = wide / view.scale;
    ctx.stroke(path);
    ctx.setLineDash(dash.map((px) => px / view.scale));
    ctx.strokeStyle = colour;
    ctx.lineWidth = width / view.scale;
    ctx.stroke(path);
    ctx.setLineDash([]);
  }

  ring({ x, y, thin }, r) {
    const path = new Path2D();
    path.arc(x, y, r, 0, 2 * Math.PI);
    if (thin) this.stroke(path, { colour: "#FFFFFF", width: 1.1, casing: "#000000", wide: 2.6, dash: [] });
    else this.stroke(path, { colour: "#8E1242", width: 2.4, casing: "#FFFFFF", wide: 5, dash: [] });
  }

  drawCross({ x, y, on }) {
    const path = new Path2D();
    const [near, far] = [5 / this.view.scale, 16 / this.view.scale];
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      path.moveTo(x + dx * near, y + dy * near);
      path.lineTo(x + dx * far, y + dy * far);
    }
    this.stroke(path, { colour: on ? "#FFD400" : "#FFFFFF", width: 2, casing: "#000000", wide: 4, dash: [] });
  }
}
