// Pictures side by side, moved and enlarged together. All but the choice of a cell happens in the browser: no round
// trip, so hiding a line or enlarging is instant and the rest of the page stays where it is.

import { Viewport } from "./viewport.js";

const CLICK_PX = 5; // a pointer that moved further between down and up has dragged the picture
const LEAST_NUMBER_PX = 11; // a cell's number stays legible on a small screen, as long as it is no larger than the cell
const WIDE = [4 / 3, 16 / 9]; // a field's pane has the field's own shape within these
const SHARP_ABOVE = 2; // above this enlargement pixels are shown as squares, below it smoothed as by any screen
const STEP = 1.5; // of enlargement, by button or key
const WHEEL_STEP = 1.15;
const BAR_SHARE = 0.4; // of what is seen that the scale bar may take before it stands for a shorter length

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".viewer");
  const panes = [...root.querySelectorAll(".pane")];
  root.pick = (cell) => setTriggerValue("picked", Number(cell.dataset.cell));
  const fresh = root.dataset.shown !== data.id;
  root.dataset.shown = data.id;
  if (fresh) fill(root, panes, data.pictures);
  for (const cell of root.querySelectorAll(".cell")) {
    cell.classList.toggle("chosen", Number(cell.dataset.cell) === data.chosen);
  }
  if (!fresh) return;

  const view = new PictureView(root, panes);
  const lines = outlines(root, view.pictures[0]);
  listenToButtons(view);
  for (const pane of panes) {
    listenToKeys(pane, view, lines);
    listenToPointer(pane, view);
  }
  const sized = new ResizeObserver(() => view.draw());
  sized.observe(panes[0]);
  view.draw();
  return () => sized.disconnect();
}

function fill(root, panes, pictures) {
  panes.forEach((pane, i) => (pane.innerHTML = pictures[i] || '<p class="later">The mask will stand here.</p>'));
  root.classList.toggle("bare", !pictures.at(-1));
}

class PictureView {
  constructor(root, panes) {
    Object.assign(this, { root, panes });
    this.pictures = panes.map((pane) => pane.querySelector("svg")).filter(Boolean);
    this.port = new Viewport(this.pictures[0].viewBox.baseVal);
    const numbers = [...root.querySelectorAll(".cell text")];
    this.numbers = numbers.map((text) => [text, Number(text.getAttribute("font-size"))]);
    const ratio = Math.min(Math.max(this.port.width / this.port.height, WIDE[0]), WIDE[1]);
    for (const pane of root.querySelectorAll(".wide")) pane.style.aspectRatio = ratio;
  }

  draw() {
    const { port, panes } = this;
    const { left, top, width, height } = port.box;
    const scale = Math.min(panes[0].clientWidth / width, panes[0].clientHeight / height);
    for (const picture of this.pictures) {
      picture.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
      this.drawScale(picture.querySelector(".scale"));
      const rendering = scale > SHARP_ABOVE ? "pixelated" : "auto";
      for (const image of picture.querySelectorAll("image")) image.style.imageRendering = rendering;
    }
    // Half as high as its cell at most (core.charts.overlay), so that twice that is no larger than the cell.
    for (const [text, size] of this.numbers) {
      const legible = Math.max(size, Math.min(LEAST_NUMBER_PX / scale, 2 * size));
      text.setAttribute("font-size", legible);
      text.setAttribute("stroke-width", legible / 5);
    }
    this.root.querySelector(".zoom-fit").textContent = `${Math.round(port.zoom * 100)} %`;
  }

  // The scale bar stays in the corner and of one height: it belongs to the window, not to the place. It keeps its
  // length in micrometres as long as there is room for it.
  drawScale(scale) {
    const { width, height, zoom, box } = this.port;
    const corner = `translate(${box.left} ${box.top + box.height})`;
    scale.setAttribute("transform", `${corner} scale(${1 / zoom}) translate(0 ${-height})`);
    if (!scale.dataset.um) return; // unknown
    const longest = BAR_SHARE * box.width * scale.dataset.umPerPx;
    const um = scale.dataset.um <= longest ? Number(scale.dataset.um) : roundBelow(longest);
    scale.querySelector("rect").setAttribute("width", (um / scale.dataset.umPerPx) * zoom);
    scale.querySelector("text").textContent = `${um} µm`;
  }

  zoomBy(factor, at) {
    this.port.zoomBy(factor, at);
    this.draw();
  }

  moveBy(dx, dy) {
    this.port.moveBy(dx, dy);
    this.draw();
  }

  fit() {
    this.port.fit();
    this.draw();
  }
}

// The largest of 1, 2 and 5 and their tens and tenths that is no larger.
function roundBelow(length) {
  const ten = 10 ** Math.floor(Math.log10(length));
  const step = [5, 2, 1].find((each) => each * ten <= length);
  return Number((step * ten).toPrecision(1));
}

// The lines that can be hidden, by a box each, and made fainter together. Gives what hides all that are shown, or else
// shows all.
function outlines(root, picture) {
  const boxes = [...root.querySelectorAll("input[type=checkbox]")];
  const strength = root.querySelector("input[type=range]");
  const show = () => {
    for (const box of boxes) {
      const part = picture.querySelector(`.outline.${box.value}`);
      if (part) part.style.display = box.checked ? "" : "none";
    }
    const lines = picture.querySelector(".outlines");
    if (lines && strength) lines.style.opacity = strength.value / 100;
  };
  for (const box of boxes) box.onchange = show;
  if (strength) strength.oninput = show;
  show();
  return () => {
    const hide = boxes.some((box) => box.checked);
    for (const box of boxes) box.checked = !hide;
    show();
  };
}

function listenToButtons(view) {
  view.root.querySelector(".zoom-in").onclick = () => view.zoomBy(STEP);
  view.root.querySelector(".zoom-out").onclick = () => view.zoomBy(1 / STEP);
  view.root.querySelector(".zoom-fit").onclick = () => view.fit();
}

function listenToKeys(pane, view, toggleLines) {
  const [across, up] = [view.port.width / 10, view.port.height / 10];
  const keys = {
    "+": () => view.zoomBy(STEP),
    "=": () => view.zoomBy(STEP),
    "-": () => view.zoomBy(1 / STEP),
    0: () => view.fit(),
    o: toggleLines,
    ArrowLeft: () => view.moveBy(-across, 0),
    ArrowRight: () => view.moveBy(across, 0),
    ArrowUp: () => view.moveBy(0, -up),
    ArrowDown: () => view.moveBy(0, up),
  };
  pane.onkeydown = (event) => {
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return; // with Alt they are the page's
    event.preventDefault();
    act();
  };
}

function listenToPointer(pane, view) {
  let dragged = 0;
  // The keys of the pane under the pointer are at hand, unless something else is typed into.
  pane.onpointerenter = () => {
    if (!document.activeElement?.matches("input, textarea, [contenteditable]")) pane.focus({ preventScroll: true });
  };
  pane.ondblclick = () => view.fit();
  pane.onwheel = (event) => {
    if (event.deltaY >= 0 && view.port.zoom === 1) return; // the whole is seen: the page scrolls on
    event.preventDefault();
    const picture = pane.querySelector("svg");
    const at = picture && new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    view.zoomBy(event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP, at ?? undefined);
  };
  pane.onpointerdown = (event) => {
    dragged = 0;
    if (view.port.zoom > 1) pane.setPointerCapture(event.pointerId);
  };
  pane.onpointermove = (event) => {
    if (!pane.hasPointerCapture(event.pointerId)) return;
    dragged += Math.abs(event.movementX) + Math.abs(event.movementY);
    const perPixel = Math.max(view.port.width / pane.clientWidth, view.port.height / pane.clientHeight);
    view.moveBy(-event.movementX * perPixel, -event.movementY * perPixel);
  };
  pane.onclick = (event) => {
    // While the pointer is captured the pane is the target of the click, so the place is asked.
    const cell = pane.getRootNode().elementFromPoint(event.clientX, event.clientY)?.closest(".cell");
    if (cell && dragged < CLICK_PX) view.root.pick(cell);
  };
}
