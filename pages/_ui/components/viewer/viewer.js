// Pictures side by side, moved and enlarged together. All but the choice of a cell happens in the browser: no round trip,
// so hiding a line or enlarging is instant and the rest of the page stays where it is.

const MAX_ZOOM = 16;
const CLICK_PX = 5; // a pointer that moved further between down and up has dragged the picture
const LEAST_NUMBER_PX = 11; // a cell's number stays legible on a small screen, as long as it is no larger than the cell
const WIDE = [4 / 3, 16 / 9]; // a field's pane has the field's own shape within these
const SHARP_ABOVE = 2; // above this enlargement pixels are shown as squares, below it smoothed as by any screen

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".viewer");
  root.pick = (cell) => component.setTriggerValue("picked", Number(cell.dataset.cell));
  const fresh = root.dataset.shown !== data.id;
  root.dataset.shown = data.id;

  const panes = [...root.querySelectorAll(".pane")];
  if (fresh) panes.forEach((pane, i) => (pane.innerHTML = data.pictures[i] || '<p class="later">The mask will stand here.</p>'));
  for (const cell of root.querySelectorAll(".cell")) cell.classList.toggle("chosen", Number(cell.dataset.cell) === data.chosen);
  if (!fresh) return;
  root.classList.toggle("bare", !data.pictures.at(-1));
  const pictures = panes.map((pane) => pane.querySelector("svg")).filter(Boolean);
  const { width, height } = pictures[0].viewBox.baseVal;
  for (const pane of root.querySelectorAll(".wide")) pane.style.aspectRatio = Math.min(Math.max(width / height, WIDE[0]), WIDE[1]);
  const numbers = [...root.querySelectorAll(".cell text")].map((text) => [text, Number(text.getAttribute("font-size"))]);
  const view = { zoom: 1, x: width / 2, y: height / 2 };

  const draw = () => {
    const w = width / view.zoom;
    const h = height / view.zoom;
    view.x = Math.min(Math.max(view.x, w / 2), width - w / 2);
    view.y = Math.min(Math.max(view.y, h / 2), height - h / 2);
    const box = `${view.x - w / 2} ${view.y - h / 2} ${w} ${h}`;
    const scale = Math.min(panes[0].clientWidth / w, panes[0].clientHeight / h);
    for (const picture of pictures) {
      picture.setAttribute("viewBox", box);
      // The scale bar stays in the corner: it belongs to the window, not to the place.
      const bar = picture.querySelector(".scale");
      bar.setAttribute("transform", `translate(${view.x - w / 2} ${view.y + h / 2 - height})`);
      for (const image of picture.querySelectorAll("image")) image.style.imageRendering = scale > SHARP_ABOVE ? "pixelated" : "auto";
    }
    // Half as high as its cell at most (core.charts.overlay), so that twice that is no larger than the cell.
    for (const [text, size] of numbers) {
      const legible = Math.max(size, Math.min(LEAST_NUMBER_PX / scale, 2 * size));
      text.setAttribute("font-size", legible);
      text.setAttribute("stroke-width", legible / 5);
    }
    root.querySelector(".zoom-fit").textContent = `${Math.round(view.zoom * 100)} %`;
  };
  const zoomBy = (factor) => {
    view.zoom = Math.min(Math.max(view.zoom * factor, 1), MAX_ZOOM);
    draw();
  };
  const fit = () => {
    Object.assign(view, { zoom: 1, x: width / 2, y: height / 2 });
    draw();
  };
  const moveBy = (dx, dy) => {
    view.x += dx / view.zoom;
    view.y += dy / view.zoom;
    draw();
  };

  const boxes = [...root.querySelectorAll("input[type=checkbox]")];
  const strength = root.querySelector("input[type=range]");
  const showLines = () => {
    for (const box of boxes) {
      const part = pictures[0].querySelector(`.outline.${box.value}`);
      if (part) part.style.display = box.checked ? "" : "none";
    }
    const lines = pictures[0].querySelector(".outlines");
    if (lines && strength) lines.style.opacity = strength.value / 100;
  };
  for (const box of boxes) box.onchange = showLines;
  if (strength) strength.oninput = showLines;

  root.querySelector(".zoom-in").onclick = () => zoomBy(1.5);
  root.querySelector(".zoom-out").onclick = () => zoomBy(1 / 1.5);
  root.querySelector(".zoom-fit").onclick = fit;

  const keys = {
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), "0": fit,
    ArrowLeft: () => moveBy(-width / 10, 0), ArrowRight: () => moveBy(width / 10, 0),
    ArrowUp: () => moveBy(0, -height / 10), ArrowDown: () => moveBy(0, height / 10),
    o: () => {
      const hide = boxes.some((box) => box.checked);
      for (const box of boxes) box.checked = !hide;
      showLines();
    },
  };
  for (const pane of panes) {
    pane.onkeydown = (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      act();
    };
    pane.ondblclick = () => zoomBy(2);
    pane.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // plain wheel scrolls the page
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    };
    let dragged = 0;
    pane.onpointerdown = (event) => {
      dragged = 0;
      if (view.zoom > 1) pane.setPointerCapture(event.pointerId);
    };
    pane.onclick = (event) => {
      // While the pointer is captured the pane is the target of the click, so the place is asked.
      const cell = pane.getRootNode().elementFromPoint(event.clientX, event.clientY)?.closest(".cell");
      if (cell && dragged < CLICK_PX) root.pick(cell);
    };
    pane.onpointermove = (event) => {
      if (!pane.hasPointerCapture(event.pointerId)) return;
      dragged += Math.abs(event.movementX) + Math.abs(event.movementY);
      const perPixel = Math.max(width / pane.clientWidth, height / pane.clientHeight);
      moveBy(-event.movementX * perPixel, -event.movementY * perPixel);
    };
  }
  const sized = new ResizeObserver(draw);
  sized.observe(panes[0]);
  showLines();
  draw();
  return () => sized.disconnect();
}
