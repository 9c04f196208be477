// Cells in a plane on a canvas: up to 20,000 points, or squares of a grid that any number of cells was counted in. Hovering, drawing a
// box or a lasso and bringing out a group happen here; the program hears only of a finished polygon and of a clicked cell.

const CLICK_PX = 5; // a pointer that moved further between down and up has drawn
const REACH_PX = { mouse: 12, pen: 14, touch: 22 }; // how near a cell must be to be meant
const LEAST_AREA_PX = 40; // what is smaller was a slip of the hand
const MOST_VERTICES = 100;
const KEY_STEP_PX = 12;
const FEW = 200;
const ARRAYS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
const GOLDEN = 0.618034;

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".scatter");
  const find = (name) => root.querySelector(`.${name}`);
  const [base, over, tip, said, legend] = ["marks", "over", "tip", "said", "legend"].map(find);
  const buttons = { lasso: find("lasso"), box: find("box") };

  // Kept from one run of the page to the next; a new picture forgets all but the tool at hand.
  const state = (root.state ??= { mode: null });
  if (state.id !== data.id) {
    const nothing = { group: null, cross: null, path: null, corners: null, down: null, hit: null };
    Object.assign(state, nothing, { id: data.id, marks: decoded(data.marks) });
  }
  const { marks } = state;
  state.chosen = data.chosen;
  if (!data.select) state.mode = null;

  const look = data.look;
  const font = getComputedStyle(root).fontFamily;
  const ground = { width: 0, height: data.height, left: 60, right: 12, top: 10, bottom: 46 };
  const axes = { x: scaleOf(data.x), y: scaleOf(data.y) };
  const toX = (v) => ground.left + axes.x.at(v) * (ground.width - ground.left - ground.right);
  const toY = (v) => ground.height - ground.bottom - axes.y.at(v) * (ground.height - ground.top - ground.bottom);
  const fromX = (px) => axes.x.value((px - ground.left) / (ground.width - ground.left - ground.right));
  const fromY = (py) => axes.y.value((ground.height - ground.bottom - py) / (ground.height - ground.top - ground.bottom));
  const none = { name: data.none, colour: look.muted, edge: look.muted, shape: "circle" };
  const groupOf = (i) => data.groups[marks.group[i]] ?? none;
  const onAxes = ([x, y]) => [axes.x.at(x), axes.y.at(y)].every((t) => t >= 0 && t <= 1);
  let at = null; // of points: where each is drawn, nan where it is not

  // -- the lower canvas: axes and cells ------------------------------------------------------------------------------------------------

  const sized = (canvas) => {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(ground.width * ratio), Math.round(ground.height * ratio)];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, ground.width, ground.height);
    return pen;
  };

  const drawAxes = (pen) => {
    pen.font = `12px ${font}`;
    const ys = axes.y.ticks(Math.round(ground.height / 55));
    ground.left = Math.ceil(Math.max(...ys.map(([, words]) => pen.measureText(words).width), 10)) + 34;
    const xs = axes.x.ticks(Math.max(3, Math.round((ground.width - ground.left) / 70)));
    pen.lineWidth = 1;
    pen.strokeStyle = look.grid;
    pen.fillStyle = look.muted;
    const [right, foot] = [ground.width - ground.right, ground.height - ground.bottom];
    pen.beginPath();
    for (const [v] of xs) line(pen, Math.round(toX(v)) + 0.5, ground.top, Math.round(toX(v)) + 0.5, foot);
    for (const [v] of ys) line(pen, ground.left, Math.round(toY(v)) + 0.5, right, Math.round(toY(v)) + 0.5);
    pen.stroke();
    pen.textBaseline = "top";
    pen.textAlign = "center";
    for (const [v, words] of xs) {
      const half = pen.measureText(words).width / 2;
      pen.fillText(words, Math.min(Math.max(toX(v), ground.left + half - 8), ground.width - half - 1), foot + 6);
    }
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const [v, words] of ys) pen.fillText(words, ground.left - 6, toY(v));
    pen.fillStyle = look.ink;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.fillText(fitting(pen, data.x.title, right - ground.left), (ground.left + right) / 2, ground.height - 10);
    pen.save();
    pen.translate(14, (ground.top + foot) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(fitting(pen, data.y.title, foot - ground.top), 0, 0);
    pen.restore();
  };

  const clipped = (pen, draw) => {
    pen.save();
    pen.beginPath();
    pen.rect(ground.left, ground.top, ground.width - ground.left - ground.right, ground.height - ground.top - ground.bottom);
    pen.clip();
    draw();
    pen.restore();
  };

  // One picture per look of a cell, drawn once and stamped: a shape and a colour.
  const stamp = (shape, colour, edge, radius) => {
    const ratio = window.devicePixelRatio || 1;
    const side = Math.ceil(2 * (radius * 1.3 + 1));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.ceil(side * ratio), height: Math.ceil(side * ratio) });
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.beginPath();
    outline(pen, shape, side / 2, side / 2, radius);
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = radius > 3 ? 0.8 : 0.5;
    pen.strokeStyle = edge;
    pen.stroke();
    return { canvas, side };
  };

  const drawPoints = (pen) => {
    const n = marks.x.length;
    const room = Math.min(1, Math.max(0.75, Math.sqrt(ground.width / 1000)));
    const radius = room * (n <= FEW ? 5.5 : Math.max(2.2, 5.5 - 1.65 * Math.log10(n / FEW)));
    const stops = data.colour && data.colour.stops;
    const stamps = new Map();
    const stampOf = (i) => {
      const group = groupOf(i);
      const tone = stops ? Math.round(share(data.colour, marks.value[i]) * 31) : 0;
      const key = marks.group[i] * 64 + (Number.isNaN(tone) ? 63 : tone);
      if (!stamps.has(key)) {
        const colour = !stops ? group.colour : Number.isNaN(tone) ? look.muted : between(stops, tone / 31);
        stamps.set(key, stamp(group.shape, colour, stops ? look.paper : group.edge, radius));
      }
      return stamps.get(key);
    };
    const strong = stops || n <= FEW ? 0.9 : n <= 3000 ? 0.75 : 0.55;
    const shape = polygonPx();
    at = { x: new Float32Array(n).fill(NaN), y: new Float32Array(n).fill(NaN) };
    let drawn = 0;
    // Each in turn a golden section on: no group lies on top only because it comes last.
    const stride = coprime(n);
    for (let k = 0, i = 0; k < n; k++, i = (i + stride) % n) {
      const [px, py] = [toX(marks.x[i]), toY(marks.y[i])];
      if (!Number.isFinite(px) || !Number.isFinite(py)) continue;
      [at.x[i], at.y[i]] = [px, py];
      drawn++;
      const faint = marks.group[i] < 0 || (state.group !== null && marks.group[i] !== state.group) || (shape && !inside(shape, px, py));
      pen.globalAlpha = faint ? 0.15 : strong;
      const { canvas, side } = stampOf(i);
      pen.drawImage(canvas, px - side / 2, py - side / 2, side, side);
    }
    pen.globalAlpha = 1;
    state.drawn = drawn;
  };

  const drawBins = (pen) => {
    const groups = data.groups.length;
    const ratio = window.devicePixelRatio || 1;
    const snap = (v) => Math.round(v * ratio) / ratio; // whole pixels of the screen leave no seams
    const [xs, ys] = [marks.xEdges.map((v) => snap(toX(v))), marks.yEdges.map((v) => snap(toY(v)))];
    const up = ys.length - 1;
    const shape = polygonPx();
    const shown = (k) => (state.group === null ? marks.total[k] : marks.counts[k * groups + state.group]);
    let most = 1;
    for (let k = 0; k < marks.place.length; k++) most = Math.max(most, shown(k));
    for (let k = 0; k < marks.place.length; k++) {
      const count = shown(k);
      if (!count) continue;
      const [i, j] = [Math.floor(marks.place[k] / up), marks.place[k] % up];
      const [x, y, w, h] = [xs[i], ys[j + 1], xs[i + 1] - xs[i], ys[j] - ys[j + 1]];
      const faint = shape && !inside(shape, x + w / 2, y + h / 2);
      pen.globalAlpha = (0.35 + 0.65 * (Math.log1p(count) / Math.log1p(most))) * (faint ? 0.25 : 1);
      const tone = data.colour ? share(data.colour, marks.value[k]) : 0;
      if (!data.colour) pen.fillStyle = data.groups[state.group ?? marks.commonest[k]].colour;
      else pen.fillStyle = Number.isNaN(tone) ? look.muted : between(data.colour.stops, tone);
      pen.fillRect(x, y, w, h);
    }
    pen.globalAlpha = 1;
  };

  const ring = (pen, [x, y], radius, fill) => {
    pen.beginPath();
    pen.arc(toX(x), toY(y), radius, 0, 2 * Math.PI);
    if (fill) {
      pen.fillStyle = look.ink;
      pen.fill();
    }
    for (const [width, colour] of fill ? [[2, look.paper]] : [[4.5, look.paper], [2, look.ink]]) {
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.stroke();
    }
    if (!fill) return;
    pen.beginPath();
    pen.arc(toX(x), toY(y), radius + 4, 0, 2 * Math.PI);
    pen.lineWidth = 2;
    pen.strokeStyle = look.ink;
    pen.stroke();
  };

  const draw = () => {
    ground.width = find("plot").clientWidth;
    if (!ground.width) return;
    const pen = sized(base);
    drawAxes(pen);
    clipped(pen, () => {
      if (marks.kind === "points") drawPoints(pen);
      else drawBins(pen);
      for (const place of data.highlighted) ring(pen, place, 7, false);
      if (data.own) ring(pen, data.own, 6, true);
    });
    drawOver();
    say();
  };

  // -- the upper canvas: what moves with the hand ----------------------------------------------------------------------------------------

  const polygonPx = () => state.chosen && state.chosen.map(([x, y]) => [toX(x), toY(y)]);

  const drawOver = () => {
    const pen = sized(over);
    const path = state.path ?? polygonPx();
    if (path) {
      pen.beginPath();
      path.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      if (!state.corners) pen.closePath();
      pen.fillStyle = look.ink;
      pen.globalAlpha = 0.07;
      pen.fill();
      pen.globalAlpha = 1;
      for (const [width, colour, dash] of [[3, look.paper, []], [1.5, look.ink, [5, 4]]]) {
        Object.assign(pen, { lineWidth: width, strokeStyle: colour });
        pen.setLineDash(dash);
        pen.stroke();
      }
      pen.setLineDash([]);
    }
    if (state.hit !== null && marks.kind === "points") ring(pen, [marks.x[state.hit], marks.y[state.hit]], 7, false);
    if (state.cross) {
      const [x, y] = state.cross;
      pen.beginPath();
      line(pen, x - 9, y, x + 9, y);
      line(pen, x, y - 9, x, y + 9);
      for (const [width, colour] of [[4, look.paper], [1.5, look.ink]]) {
        Object.assign(pen, { lineWidth: width, strokeStyle: colour });
        pen.stroke();
      }
    }
  };

  const nearest = (px, py, reach) => {
    let [best, found] = [reach * reach, null];
    for (let i = 0; i < at.x.length; i++) {
      if (state.group !== null && marks.group[i] !== state.group) continue;
      const distance = (at.x[i] - px) ** 2 + (at.y[i] - py) ** 2; // nan is never less
      if (distance < best) [best, found] = [distance, i];
    }
    return found;
  };

  const squareAt = (px, py) => {
    const [i, j] = [marks.xEdges.findIndex((edge) => edge > fromX(px)), marks.yEdges.findIndex((edge) => edge > fromY(py))];
    return i > 0 && j > 0 ? marks.index.get((i - 1) * (marks.yEdges.length - 1) + j - 1) ?? null : null;
  };

  const words = (k) => {
    if (marks.kind === "points") {
      const lines = [[groupOf(k).name, "strong"]];
      if (marks.words.length) lines.push([marks.words[k]]);
      lines.push([`${data.x.title}: ${number(marks.x[k])}`], [`${data.y.title}: ${number(marks.y[k])}`]);
      if (data.colour) lines.push([`${data.colour.title}: ${number(marks.value[k])}`]);
      return lines;
    }
    const counts = data.groups.map((group, g) => [marks.counts[k * data.groups.length + g], group.name]).filter(([count]) => count);
    counts.sort((a, b) => b[0] - a[0]);
    const lines = [[`${cells(marks.total[k])} here`, "strong"]];
    for (const [count, name] of counts) lines.push([`${name}: ${count.toLocaleString("en")}`]);
    if (data.colour) lines.push([`${data.colour.title}, mean: ${number(marks.value[k])}`]);
    return lines;
  };

  const hover = (px, py, kind = "mouse") => {
    state.hit = state.path ? null : marks.kind === "points" ? nearest(px, py, REACH_PX[kind] ?? 12) : squareAt(px, py);
    tip.hidden = state.hit === null;
    if (state.hit !== null) {
      const row = ([textContent, className = ""]) => Object.assign(document.createElement("div"), { textContent, className });
      tip.replaceChildren(...words(state.hit).map(row));
      const beside = px + 16 + tip.offsetWidth > ground.width ? px - 16 - tip.offsetWidth : px + 16;
      tip.style.left = `${Math.max(2, Math.min(beside, ground.width - tip.offsetWidth - 2))}px`;
      tip.style.top = `${Math.max(2, Math.min(py + 14, ground.height - tip.offsetHeight - 4))}px`;
    }
    over.style.cursor = state.mode ? "crosshair" : data.pick && state.hit !== null ? "pointer" : "default";
    drawOver();
  };

  const leave = () => {
    state.hit = null;
    tip.hidden = true;
    drawOver();
  };

  const pick = (px, py, kind) => {
    hover(px, py, kind);
    if (data.pick && state.hit !== null) setTriggerValue("picked", { index: state.hit, of: data.id });
  };

  const choose = (path) => {
    Object.assign(state, { path: null, corners: null });
    const kept = simplified(path);
    if (kept.length < 3 || area(kept) < LEAST_AREA_PX) return drawOver();
    state.chosen = kept.map(([x, y]) => [fromX(x), fromY(y)]);
    setTriggerValue("selected", { polygon: state.chosen, of: data.id });
    draw();
  };

  const clear = () => {
    if (state.path) Object.assign(state, { path: null, corners: null });
    else if (state.chosen) {
      state.chosen = null;
      setTriggerValue("selected", { polygon: null, of: data.id });
    }
    draw();
  };

  const say = () => {
    find("clear").disabled = !state.chosen && !state.path;
    const parts = [];
    if (state.mode === "lasso") parts.push("Draw around cells.");
    else if (state.mode === "box") parts.push("Drag a box over cells.");
    else if (data.pick) parts.push("Click a cell to look at it.");
    if (marks.kind === "points") {
      const sampled = marks.of !== null && marks.of > marks.x.length;
      if (sampled) parts.push(`${cells(marks.x.length)} drawn of ${marks.of.toLocaleString("en")}, by chance.`);
    } else parts.push(`${cells(marks.sum)} counted in squares${data.colour ? "" : "; the colour is that of most of them"}.`);
    const absent = marks.kind === "points" ? marks.x.length - state.drawn : marks.absent;
    if (absent) parts.push(`${cells(absent)} without a value here.`);
    const text = parts.join(" ");
    if (said.textContent !== text) said.textContent = text;
  };

  // -- pointer, finger, keys ------------------------------------------------------------------------------------------------------------

  const placeOf = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const within = ([x, y]) => [
    Math.min(Math.max(x, ground.left), ground.width - ground.right),
    Math.min(Math.max(y, ground.top), ground.height - ground.bottom),
  ];
  over.onpointerdown = (event) => {
    if (event.button !== 0) return;
    state.cross = null;
    state.down = { place: within(placeOf(event)), moved: 0 }; // kept, so that a page that runs again meanwhile does not end a drag
    if (state.mode) over.setPointerCapture(event.pointerId);
  };
  over.onpointermove = (event) => {
    const place = placeOf(event);
    const { down } = state;
    if (!down || !state.mode) return hover(...place, event.pointerType);
    const [x, y] = within(place);
    const [fromPx, fromPy] = down.place;
    down.moved = Math.max(down.moved, Math.hypot(x - fromPx, y - fromPy));
    if (down.moved < CLICK_PX) return;
    if (state.mode === "box") state.path = rectangle(down.place, [x, y]);
    else {
      state.path ??= [down.place];
      for (const between of event.getCoalescedEvents?.() ?? []) state.path.push(within(placeOf(between)));
      state.path.push([x, y]);
    }
    tip.hidden = true;
    state.hit = null;
    drawOver();
  };
  over.onpointerup = (event) => {
    const { down } = state;
    if (!down) return;
    const drawn = state.mode && down.moved >= CLICK_PX;
    const near = Math.hypot(placeOf(event)[0] - down.place[0], placeOf(event)[1] - down.place[1]) < 2 * CLICK_PX;
    state.down = null;
    if (drawn) choose(state.path);
    else if (near) pick(...placeOf(event), event.pointerType);
  };
  over.onpointercancel = () => {
    Object.assign(state, { down: null, path: null, corners: null });
    drawOver();
  };
  over.onpointerleave = () => !state.down && leave();

  const act = () => {
    if (!state.mode) return pick(...state.cross, "touch");
    const corners = (state.corners ??= []);
    const last = corners.at(-1);
    const again = last && last[0] === state.cross[0] && last[1] === state.cross[1];
    if (!again) corners.push([...state.cross]);
    if (state.mode === "box" && corners.length === 2) return choose(rectangle(...corners));
    if (state.mode === "lasso" && again) return choose(corners);
    state.path = [...corners];
    drawOver();
  };
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  over.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = steps[event.key];
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    state.cross ??= [(ground.left + ground.width - ground.right) / 2, (ground.top + ground.height - ground.bottom) / 2];
    if (!step) return act();
    const stride = event.shiftKey ? 2 : KEY_STEP_PX;
    state.cross = within([state.cross[0] + step[0] * stride, state.cross[1] + step[1] * stride]);
    if (state.mode === "box" && state.corners) state.path = rectangle(state.corners[0], state.cross);
    else if (state.mode === "lasso" && state.corners) state.path = [...state.corners, state.cross];
    hover(...state.cross);
  };
  over.onblur = () => {
    state.cross = null;
    leave();
  };
  root.onkeydown = (event) => event.key === "Escape" && clear();

  const setMode = (mode) => {
    state.mode = mode;
    for (const [name, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", String(name === mode));
    over.style.touchAction = mode ? "none" : "pan-y"; // a finger draws only when it was asked to, and else moves the page
    over.style.cursor = mode ? "crosshair" : "default";
  };
  for (const [name, button] of Object.entries(buttons)) {
    button.hidden = !data.select;
    button.onclick = () => {
      Object.assign(state, { path: null, corners: null });
      setMode(state.mode === name ? null : name);
      drawOver();
      say();
    };
  }
  find("clear").hidden = !data.select;
  find("clear").onclick = clear;
  over.setAttribute("aria-label", described(data));

  // -- legend and colour bar ------------------------------------------------------------------------------------------------------------

  const emphasise = (group) => {
    state.group = state.group === group ? null : group;
    legend.querySelectorAll("button").forEach((entry, g) => entry.setAttribute("aria-pressed", String(g === state.group)));
    draw();
  };
  legend.replaceChildren(
    ...data.groups.map((group, g) => {
      const entry = document.createElement("button");
      entry.type = "button";
      entry.title = "Bring this group out; once more for all";
      const sign = Object.assign(document.createElement("canvas"), { className: "sign" });
      const shape = marks.kind === "bins" ? "square" : group.shape;
      const { canvas } = stamp(shape, data.colour ? look.muted : group.colour, data.colour ? look.muted : group.edge, 5);
      Object.assign(sign, { width: canvas.width, height: canvas.height });
      sign.getContext("2d").drawImage(canvas, 0, 0);
      const name = Object.assign(document.createElement("span"), { textContent: group.name });
      const n = Object.assign(document.createElement("span"), { className: "n", textContent: group.n.toLocaleString("en") });
      entry.append(sign, name, n);
      entry.setAttribute("aria-label", `${group.name}, ${cells(group.n)}`);
      entry.setAttribute("aria-pressed", String(state.group === g));
      entry.onclick = () => emphasise(g);
      return entry;
    }),
    ...(marks.kind === "points" && marks.group.some((group) => group < 0) ? [sample("nowhere", data.none)] : []),
    ...(data.own ? [sample("own", onAxes(data.own) ? "this cell" : "this cell lies beyond the axes")] : []),
    ...(data.highlighted.length ? [sample("found", "highlighted")] : []),
  );
  find("bar").hidden = !data.colour;
  if (data.colour) {
    find("bar-title").textContent = data.colour.title;
    find("low").textContent = number(data.colour.low);
    find("high").textContent = number(data.colour.high);
    find("ramp").style.background = `linear-gradient(to right, ${data.colour.stops.join(", ")})`;
  }

  find("plot").style.height = `${data.height}px`;
  setMode(state.mode);
  draw();
  const watching = new ResizeObserver(() => find("plot").clientWidth !== ground.width && draw());
  watching.observe(find("plot"));
  const gone = new AbortController();
  const watchRatio = () => {
    const same = window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    const again = () => {
      draw();
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

// -- what was sent ------------------------------------------------------------------------------------------------------------------------

function array(text, type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new type(bytes.buffer);
}

function decoded(sent) {
  const value = sent.value && array(sent.value, Float32Array);
  if (sent.kind === "points") {
    return { ...sent, x: array(sent.x, Float32Array), y: array(sent.y, Float32Array), group: array(sent.group, Int16Array), value };
  }
  const place = array(sent.place, Uint32Array);
  const counts = array(sent.counts, ARRAYS[sent.bytes]);
  const groups = place.length ? counts.length / place.length : 0;
  const total = new Float64Array(place.length);
  const commonest = new Uint16Array(place.length);
  for (let k = 0; k < place.length; k++) {
    for (let g = 0; g < groups; g++) {
      const count = counts[k * groups + g];
      total[k] += count;
      if (count > counts[k * groups + commonest[k]]) commonest[k] = g;
    }
  }
  const index = new Map(Array.from(place, (p, k) => [p, k]));
  return { ...sent, place, counts, total, commonest, index, value, sum: total.reduce((a, b) => a + b, 0) };
}

// -- axes ---------------------------------------------------------------------------------------------------------------------------------

function scaleOf({ low, high, log }) {
  if (!log) {
    return { at: (v) => (v - low) / (high - low), value: (t) => low + t * (high - low), ticks: (n) => linearTicks(low, high, n) };
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
  const decades = Math.log10(high / low);
  if (decades < 0.8) return linearTicks(low, high, about);
  const within = (leads) => {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) for (const m of leads) found.push(m * 10 ** p);
    return found.filter((v) => v >= low && v <= high);
  };
  let ticks = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map(within).find((found) => found.length <= about + 1);
  if (!ticks) {
    const powers = within([1]);
    const every = Math.ceil(powers.length / about);
    ticks = powers.filter((v) => Math.round(Math.log10(v)) % every === 0);
  }
  return ticks.map((v) => [v, plain(v, Math.max(0, -Math.floor(Math.log10(v) + 1e-9)))]);
}

const RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";

function plain(v, digits) {
  if (v !== 0 && (Math.abs(v) >= 1e7 || Math.abs(v) < 1e-4)) {
    const [lead, power] = v.toExponential(2).split("e");
    const raised = [...String(Number(power))].map((sign) => (sign === "-" ? "\u207b" : RAISED[sign])).join("");
    return `${Number(lead) === 1 ? "" : `${Number(lead)}\u00d7`}10${raised}`;
  }
  return v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
}

// As core.charts.labels.number: three significant digits, a dash for what is absent.
function number(v) {
  if (v === null || !Number.isFinite(v)) return "\u2013";
  if (v === 0 || Math.abs(v) >= 1e7 || Math.abs(v) < 1e-4) return plain(v, 0);
  return plain(v, Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(Math.abs(v))))));
}

function cells(n) {
  return `${n.toLocaleString("en")} cell${n === 1 ? "" : "s"}`;
}

function described({ x, y, groups, select, pick }) {
  const doing = [];
  if (pick) doing.push("Enter looks at the nearest cell");
  if (select) doing.push("with a tool chosen Enter sets corners, twice closes, Escape clears");
  const who = groups.map((group) => `${group.name} ${group.n}`).join(", ");
  return `Scatter of ${y.title} against ${x.title}; ${who}. ${["Arrows move a cross", ...doing].join("; ")}`;
}

// -- shapes and colours -------------------------------------------------------------------------------------------------------------------

function line(pen, x, y, toX, toY) {
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
}

// Vega's symbols, of about the same area.
function outline(pen, shape, x, y, r) {
  const along = (points) => {
    points.forEach(([dx, dy], i) => (i ? pen.lineTo(x + dx * r, y + dy * r) : pen.moveTo(x + dx * r, y + dy * r)));
    pen.closePath();
  };
  const turned = { "triangle-up": 0, "triangle-right": 1, "triangle-down": 2, "triangle-left": 3 }[shape];
  if (shape === "square") along([[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]]);
  else if (shape === "diamond") along([[0, -1.25], [1.05, 0], [0, 1.25], [-1.05, 0]]);
  else if (shape === "cross") {
    const [a, b] = [0.38, 1.15];
    along([[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]]);
  } else if (turned !== undefined) {
    let points = [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]];
    for (let k = 0; k < turned; k++) points = points.map(([dx, dy]) => [-dy, dx]);
    along(points);
  } else pen.arc(x, y, r, 0, 2 * Math.PI);
}

function sample(name, text) {
  const entry = Object.assign(document.createElement("span"), { className: "sample" });
  const sign = Object.assign(document.createElement("span"), { className: `sign ${name}` });
  entry.append(sign, Object.assign(document.createElement("span"), { textContent: text }));
  return entry;
}

function share({ low, high }, v) {
  return Math.min(Math.max((v - low) / (high - low), 0), 1); // nan stays nan
}

function between(stops, t) {
  const place = t * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  const channel = (colour, c) => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = [0, 1, 2].map((c) => Math.round(channel(stops[i], c) + (channel(stops[i + 1], c) - channel(stops[i], c)) * (place - i)));
  return `rgb(${mixed.join(",")})`;
}

function fitting(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`${kept}\u2026`).width > room) kept = kept.slice(0, -1);
  return `${kept}\u2026`;
}

function coprime(n) {
  const shared = (a, b) => (b ? shared(b, a % b) : a);
  let stride = Math.max(1, Math.round(n * GOLDEN));
  while (n > 1 && shared(stride, n) !== 1) stride++;
  return stride;
}

// -- polygons -----------------------------------------------------------------------------------------------------------------------------

function rectangle([x, y], [toX, toY]) {
  return [[x, y], [toX, y], [toX, toY], [x, toY]];
}

function inside(polygon, x, y) {
  let found = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) found = !found;
  }
  return found;
}

function area(polygon) {
  const twice = polygon.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = polygon[(i + 1) % polygon.length];
    return sum + x * nextY - nextX * y;
  }, 0);
  return Math.abs(twice) / 2;
}

// Ramer, Douglas and Peucker, with twice the tolerance until few enough vertices are left.
function simplified(path) {
  let kept = path;
  for (let tolerance = 0.5; kept.length > MOST_VERTICES || tolerance === 0.5; tolerance *= 2) kept = thinned(path, tolerance);
  return kept;
}

function thinned(path, tolerance) {
  const keep = new Uint8Array(path.length);
  keep[0] = keep[path.length - 1] = 1;
  const parts = [[0, path.length - 1]];
  while (parts.length) {
    const [from, to] = parts.pop();
    const [ax, ay] = path[from];
    const [dx, dy] = [path[to][0] - ax, path[to][1] - ay];
    const length = Math.hypot(dx, dy);
    let [far, index] = [tolerance, -1];
    for (let i = from + 1; i < to; i++) {
      const [px, py] = [path[i][0] - ax, path[i][1] - ay];
      const distance = length ? Math.abs(px * dy - py * dx) / length : Math.hypot(px, py);
      if (distance > far) [far, index] = [distance, i];
    }
    if (index < 0) continue;
    keep[index] = 1;
    parts.push([from, index], [index, to]);
  }
  return path.filter((_, i) => keep[i]);
}
