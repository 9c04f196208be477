// Cells in a plane on a canvas. Hovering, drawing a box or a lasso and bringing out a group happen here; the program
// hears only of a finished polygon and of a clicked cell.

import { Plane, drawAxes } from "./axes.js";
import { Bins } from "./bins.js";
import { listenToKeys, listenToPointer } from "./hand.js";
import { drawPath, finished, forget } from "./lasso.js";
import { fillColourBar, fillLegend } from "./legend.js";
import { clipped, cross, emptied, ring, target } from "./pen.js";
import { Points } from "./points.js";
import { showTip } from "./tooltip.js";
import { described, status } from "./words.js";

const REACH_PX = { mouse: 12, pen: 14, touch: 22 }; // how near a cell must be to be meant
const MARKS = { points: Points, bins: Bins };
const TOOLS = ["lasso", "box"];

export default function (component) {
  const view = new ScatterView(component);
  listenToPointer(view);
  listenToKeys(view);
  fillLegend(view);
  fillColourBar(view);
  view.start();
  return redrawWhenResized(view);
}

class ScatterView {
  constructor({ data, parentElement, setTriggerValue }) {
    this.data = data;
    this.tell = (what, value) => setTriggerValue(what, { ...value, of: data.id });
    this.root = parentElement.querySelector(".scatter");
    this.find = (name) => this.root.querySelector(`.${name}`);
    for (const name of ["plot", "over", "tip", "legend"]) this[name] = this.find(name);
    this.state = remembered(this.root, data);
    this.marks = this.state.marks;
    this.plane = new Plane(data);
  }

  start() {
    this.plot.style.height = `${this.data.height}px`;
    this.over.setAttribute("aria-label", described(this.data));
    for (const name of [...TOOLS, "clear"]) this.find(name).hidden = !this.data.select;
    for (const name of TOOLS) this.find(name).onclick = () => this.take(name);
    this.find("clear").onclick = () => this.clear();
    this.setMode(this.state.mode);
    this.draw();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  // The lower canvas: axes and cells.
  draw() {
    const { data, plane, state, marks } = this;
    plane.width = this.plot.clientWidth;
    if (!plane.width) return;
    const pen = emptied(this.find("marks"), plane);
    pen.font = `12px ${getComputedStyle(this.root).fontFamily}`;
    drawAxes(pen, plane, data);
    clipped(pen, plane, () => {
      marks.draw(pen, plane, state.group, this.chosenPx);
      for (const place of data.highlighted) ring(pen, plane.toPx(place), data.look);
      if (data.own) target(pen, plane.toPx(data.own), data.look);
    });
    this.drawOver();
    this.say();
  }

  // The upper canvas: what moves with the hand.
  drawOver() {
    const { plane, state, marks } = this;
    const { look } = this.data;
    const pen = emptied(this.over, plane);
    const path = state.path ?? this.chosenPx;
    if (path) drawPath(pen, path, state.corners !== null, look);
    const cell = state.hit === null ? null : marks.ringed(state.hit);
    if (cell) ring(pen, plane.toPx(cell), look);
    if (state.cross) cross(pen, state.cross, look);
  }

  get chosenPx() {
    return this.state.chosen && this.state.chosen.map((corner) => this.plane.toPx(corner));
  }

  say() {
    const { state } = this;
    this.find("clear").disabled = !state.chosen && !state.path;
    const words = status(this.data, state.mode, this.marks);
    const said = this.find("said");
    if (said.textContent !== words) said.textContent = words; // what is not new is not read out again
  }

  // -- what a hand can do -------------------------------------------------------------------------------------------

  hover(place, kind = "mouse") {
    const { state, marks, plane } = this;
    state.hit = state.path ? null : marks.find(plane, place, state.group, REACH_PX[kind] ?? REACH_PX.mouse);
    if (state.hit === null) this.tip.hidden = true;
    else showTip(this.tip, marks.lines(state.hit), place, plane);
    this.over.style.cursor = state.mode ? "crosshair" : this.data.pick && state.hit !== null ? "pointer" : "default";
    this.drawOver();
  }

  leave() {
    this.state.hit = null;
    this.tip.hidden = true;
    this.drawOver();
  }

  pick(place, kind) {
    this.hover(place, kind);
    const { hit } = this.state;
    if (this.data.pick && hit !== null) this.tell("picked", { index: hit });
  }

  choose(path) {
    const corners = finished(path);
    if (!corners) return this.dropPath();
    forget(this.state);
    this.state.chosen = corners.map((corner) => this.plane.toValues(corner));
    this.tell("selected", { polygon: this.state.chosen });
    this.draw();
  }

  dropPath() {
    forget(this.state);
    this.drawOver();
  }

  // What is half drawn goes first, then what was chosen.
  clear() {
    const { state } = this;
    if (!state.path && state.chosen) {
      state.chosen = null;
      this.tell("selected", { polygon: null });
    }
    forget(state);
    this.draw();
  }

  take(tool) {
    this.setMode(this.state.mode === tool ? null : tool);
    this.dropPath();
    this.say();
  }

  setMode(mode) {
    this.state.mode = mode;
    for (const tool of TOOLS) this.find(tool).setAttribute("aria-pressed", String(tool === mode));
    // A finger draws only when it was asked to, and else moves the page.
    this.over.style.touchAction = mode ? "none" : "pan-y";
    this.over.style.cursor = mode ? "crosshair" : "default";
  }

  bringOut(group) {
    const { state } = this;
    state.group = state.group === group ? null : group;
    this.legend.querySelectorAll("button").forEach((entry, g) => {
      entry.setAttribute("aria-pressed", String(g === state.group));
    });
    this.draw();
  }
}

// Kept from one run of the page to the next; a new picture forgets all but the tool at hand.
function remembered(root, data) {
  const state = (root.state ??= { mode: null });
  if (state.id !== data.id) {
    const nothing = { group: null, cross: null, path: null, corners: null, down: null, hit: null };
    Object.assign(state, nothing, { id: data.id, marks: new MARKS[data.marks.kind](data) });
  }
  state.chosen = data.chosen;
  if (!data.select) state.mode = null;
  return state;
}

// Also where the window moves to a screen of other pixels. Gives the function that ends it.
function redrawWhenResized(view) {
  const watching = new ResizeObserver(() => view.plot.clientWidth !== view.plane.width && view.draw());
  watching.observe(view.plot);
  const gone = new AbortController();
  const watchRatio = () => {
    const same = window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    const again = () => {
      view.draw();
      watchRatio();
    };
    same.addEventListener("change", again, { once: true, signal: gone.signal });
  };
  watchRatio();
  return () => {
    watching.disconnect();
    gone.abort();
  };
}
