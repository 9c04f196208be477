// A cell's outline under the brush: this file holds the cell, the tools and what the buttons do together.

import { Drafts, draftToOffer } from "./drafts.js";
import { listenToKeys } from "./keys.js";
import { Painter } from "./paint.js";
import { Panel } from "./panel.js";
import { listenToPointers } from "./pointers.js";
import { BACKGROUND, CYTOPLASM, NUCLEUS, Raster, areas, boxOf, dice, drawLine, dropPart, fillHoles, joinedBox, mend, smooth, survey, tidy, wandAt } from "./raster.js";
import { decodeRuns, encodeRuns } from "./runs.js";
import { Steps } from "./steps.js";
import { NEWS, Sync, Tabs } from "./sync.js";
import { View } from "./view.js";
import { areaSaid, clock, piecesSaid, slipsSaid } from "./words.js";

const MOST_CELLS = 20;
const MOST_BRUSH_PX = 200;
const WAND_TOLERANCE = 20;
const MOST_TOLERANCE = 140;
const LARGE_PX = 1e6; // above it slips are looked for a moment after the numbers are shown
const UNTOUCHED = -1;

// What outlives a run of the page and an element that is made anew: the cells with their steps, the tool, the person.
const memory = (globalThis.leukoscopeEditor ??= {
  cells: new Map(), tool: "push", size: 12, radius: 1, model: true, who: "", act: 0, drafts: null,
});

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".editor");
  root.post = setStateValue;
  if (root.editor?.data.id === data.id) {
    root.editor.scaled(data.um);
    root.editor.sync.asked();
    return root.leave;
  }
  root.leave?.();
  const made = (root.editor = new Editor(root, data));
  root.leave = () => {
    made.leave();
    if (root.editor === made) root.editor = null;
  };
  return root.leave;
}

function cellOf(data) {
  const { cells } = memory;
  const size = data.width * data.height;
  const start = decodeRuns(data.start, size) ?? new Uint8Array(size);
  const startRuns = encodeRuns(start);
  let cell = cells.get(data.id);
  if (!cell) {
    const keepOut = data.keep_out ? decodeRuns(data.keep_out, size) : null;
    const raster = new Raster(data.width, data.height, start, keepOut);
    cell = { id: data.id, raster, steps: new Steps(), rev: 0, sent: 0, sentAt: 0, since: 0, measured: 0, savedRev: UNTOUCHED };
    Object.assign(cell, { runs: startRuns, start: startRuns, clean: startRuns, tools: {}, seconds: 0 });
  } else if (cell.start !== startRuns) {
    // Another outline is the saved one by now: it is taken up as a step, unless there is something unsaved here.
    const saved = cell.runs === cell.clean;
    cell.start = cell.clean = startRuns;
    if (saved && cell.runs !== startRuns) {
      const before = cell.raster.labels.slice();
      cell.raster.labels.set(start);
      cell.steps.record(cell.raster, before, cell.raster.whole);
      Object.assign(cell, { runs: startRuns, rev: Math.max(cell.rev + 1, Date.now()), since: Date.now() });
    }
  }
  cells.delete(data.id);
  cells.set(data.id, cell);
  if (cells.size > MOST_CELLS) cells.delete(cells.keys().next().value);
  return cell;
}

class Editor {
  constructor(root, data) {
    const cell = cellOf(data);
    const { raster } = cell;
    const canvas = root.querySelector("canvas");
    Object.assign(this, { root, data, cell, raster, canvas, space: false, stroke: null, cross: null, offer: null, news: {} });
    this.words = data.words;
    this.model = decodeRuns(data.model, raster.labels.length) ?? new Uint8Array(raster.labels.length);
    this.modelRuns = encodeRuns(this.model);
    this.end = new AbortController();
    const { signal } = this.end;
    this.view = new View(data.width, data.height, boxOf(data.blind ? raster.labels : this.model, data.width));
    this.painter = new Painter(canvas, raster, this.model, this.view);
    this.panel = new Panel(root, signal, this.words);
    this.drafts = memory.drafts ??= new Drafts();
    this.sync = new Sync(cell, (name, value) => root.post(name, value), (what) => this.heard(what));
    const stage = root.querySelector(".stage");
    stage.style.aspectRatio = String(Math.min(Math.max(data.width / data.height, 0.75), 16 / 9));
    for (const bar of root.querySelectorAll(".bar")) bar.hidden = true;
    this.answer("");
    this.find(".keys").hidden = true;
    this.find(".radius").value = String(memory.radius);

    listenToPointers(this, signal);
    listenToKeys(this, signal);
    this.listen(signal);
    // To parts of a px: rounded, the picture would lie beside the pointer at its far edge.
    this.sized = new ResizeObserver(([{ contentRect }]) => {
      this.view.resize(Math.max(contentRect.width, 1), Math.max(contentRect.height, 1));
      this.seen();
    });
    this.sized.observe(canvas);
    this.tabs = new Tabs(data.id, {
      onOther: () => this.heard(),
      onLost: () => (this.cancelStroke(), this.heard()),
      onHanded: ({ runs }) => (this.takeUp(runs, "restore"), this.offerNext()),
      hand: () => ({ runs: cell.runs }),
    });
    this.sync.watch(signal);
    this.openedAt = document.visibilityState === "visible" ? Date.now() : null;
    this.load();
    this.findDraft();
    if (window.leukoscopeEditorNews) this.take(window.leukoscopeEditorNews);
    this.measure();
    this.sync.lost = cell.measured < cell.rev; // whoever was asked before may be gone
    this.sync.push();
    // From an open cell to its answer by one key; a person who writes elsewhere is not disturbed.
    const active = document.activeElement;
    if (!active || active === document.body || active === root.getRootNode().host) canvas.focus({ preventScroll: true });
  }

  scaled(um) {
    if (um === this.data.um) return;
    this.data = { ...this.data, um };
    this.refresh();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  listen(signal) {
    const { root } = this;
    const on = (element, name, act) => element.addEventListener(name, act, { signal });
    on(root, "click", ({ target }) => {
      const button = target.closest("button");
      if (!button || button.disabled) return;
      const { tool, whole, deed, zoom, act } = button.dataset;
      if (tool) this.pick(tool);
      if (whole) this.whole(whole);
      if (zoom) this.zoomBy(Number(zoom));
      if (act) this.ask(act);
      if (deed) this[deed]();
      // A button that is gone or can do no more would keep the keys to itself.
      const gone = button.disabled || !button.offsetParent;
      if (gone && !this.panel.open) this.canvas.focus({ preventScroll: true });
    });
    const size = this.find(".size");
    on(size, "input", () => this.setBrush(Number(size.value)));
    const radius = this.find(".radius");
    on(radius, "change", () => (memory.radius = Number(radius.value)));
    on(window, NEWS, ({ detail }) => this.take(detail));
    on(window, "beforeunload", (event) => this.sync.unsent && this.changedHere && event.preventDefault());
    on(document, "visibilitychange", () => this.countTime());
    on(window, "pagehide", () => this.keepDraft());
  }

  leave() {
    document.documentElement.removeAttribute("data-outline-late");
    this.endStroke();
    this.countTime(true);
    this.end.abort();
    this.sized.disconnect();
    this.painter.leave();
    this.tabs.leave();
    clearTimeout(this.later);
  }

  async load() {
    const blob = await (await fetch(this.data.image)).blob();
    // Without conversion, so that the wand sees the colours that Python sees.
    this.painter.image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    this.painter.ask();
  }

  get rgba() {
    if (!this.pixels && this.painter.image) {
      const { width, height } = this.raster;
      const ctx = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
      ctx.drawImage(this.painter.image, 0, 0);
      this.pixels = ctx.getImageData(0, 0, width, height).data;
    }
    return this.pixels;
  }

  get readOnly() {
    return !this.tabs.owns || Boolean(this.news.read_only);
  }

  get blind() {
    return Boolean(this.data.blind) && !this.cell.unblinded;
  }

  get changedHere() {
    return this.cell.runs !== this.cell.clean;
  }

  get who() {
    return this.news.who || memory.who;
  }

  // Strokes: one from the pointer's down to its up is one step.

  brushFor(tool, place, { altKey = false, shiftKey = false } = {}) {
    const under = this.raster.labelAt(place);
    if (tool === "push") return { label: altKey ? BACKGROUND : under };
    if (altKey || tool === "erase") return { label: BACKGROUND };
    if (tool === "nucleus" || (tool === "wand" && shiftKey)) return { label: NUCLEUS };
    return { label: CYTOPLASM, spare: under !== NUCLEUS };
  }

  beginStroke(place, event) {
    if (this.readOnly || this.stroke) return false;
    const { tool } = memory;
    if (tool === "drop") {
      this.drop(place);
      return false;
    }
    const inside = place.x >= 0 && place.y >= 0 && place.x < this.raster.width && place.y < this.raster.height;
    if (tool === "wand" && (!this.rgba || !inside)) return false;
    const before = this.raster.labels.slice();
    this.stroke = { tool, brush: this.brushFor(tool, place, event), before, box: null, from: place, last: place };
    this.moveStroke(place);
    return true;
  }

  moveStroke(place) {
    const { stroke, raster } = this;
    if (!stroke) return;
    let box;
    if (stroke.tool === "wand") {
      const far = Math.hypot(place.x - stroke.from.x, place.y - stroke.from.y) * this.view.scale;
      const tolerance = Math.min(Math.round(WAND_TOLERANCE + far / 3), MOST_TOLERANCE);
      if (tolerance === stroke.tolerance) return;
      stroke.tolerance = tolerance;
      raster.labels.set(stroke.before);
      box = wandAt(raster, this.rgba, Math.floor(stroke.from.x), Math.floor(stroke.from.y), tolerance, stroke.brush);
    } else {
      // A broad brush that moves the cell's edge must not eat the nucleus beside it: that gives way where the pointer is.
      if (stroke.tool === "push" && stroke.brush.label === CYTOPLASM) {
        stroke.brush.spare = raster.labelAt(place, stroke.before) !== NUCLEUS;
      }
      box = drawLine(raster, stroke.last, place, memory.size, stroke.brush);
      stroke.last = place;
    }
    stroke.box = joinedBox(stroke.box, box);
    this.painter.changed(box);
  }

  endStroke() {
    const { stroke } = this;
    this.stroke = null;
    if (this.cross) this.cross.on = false;
    if (stroke) this.done(stroke.tool, stroke.before, stroke.box);
  }

  cancelStroke() {
    const { stroke } = this;
    if (!stroke) return;
    this.raster.labels.set(stroke.before);
    this.stroke = null;
    if (this.cross) this.cross.on = false;
    this.painter.changed();
  }

  // A click on a ringed slip mends it; elsewhere it removes the part that is there.
  drop(place) {
    const { raster } = this;
    const before = raster.labels.slice();
    const i = Math.floor(place.y) * raster.width + Math.floor(place.x);
    const reach = 9 / this.view.scale;
    const far = (mark) => Math.hypot(place.x - mark.x, place.y - mark.y);
    const marks = this.slips.marks;
    const hit = marks.find(({ places }) => places.includes(i)) ??
      marks.filter((mark) => far(mark) <= Math.max(mark.r, reach) && mark.r < 3 * reach).sort((a, b) => far(a) - far(b))[0];
    if (hit) mend(raster, [hit]);
    else if (raster.labelAt(place) >= CYTOPLASM) dropPart(raster, i);
    this.done("drop", before, raster.whole);
  }

  whole(what) {
    if (this.readOnly || (what === "revert" && this.blind)) return;
    this.cancelStroke();
    const { raster } = this;
    const before = raster.labels.slice();
    if (what === "fill") fillHoles(raster);
    if (what === "smooth") smooth(raster, memory.radius);
    if (what === "tidy") tidy(raster);
    if (what === "revert") raster.labels.set(this.model);
    this.done(what, before, raster.whole);
  }

  takeUp(runs, tool) {
    const labels = decodeRuns(runs, this.raster.labels.length);
    if (!labels) return;
    const before = this.raster.labels.slice();
    this.raster.labels.set(labels);
    this.done(tool, before, this.raster.whole);
  }

  done(tool, before, box) {
    const { cell, raster } = this;
    if (!box || !cell.steps.record(raster, before, box)) return this.painter.ask();
    cell.tools[tool] = (cell.tools[tool] ?? 0) + 1;
    return this.changed(box);
  }

  undo() {
    if (this.stroke) return this.cancelStroke();
    return this.readOnly ? null : this.changed(this.cell.steps.undo(this.raster));
  }

  redo() {
    return this.readOnly || this.stroke ? null : this.changed(this.cell.steps.redo(this.raster));
  }

  changed(box) {
    const { cell } = this;
    if (!box) return;
    if (cell.measured >= cell.rev) cell.since = Date.now();
    // Of the clock, so that revisions of this cell grow from one visit to the next, too.
    cell.rev = Math.max(cell.rev + 1, Date.now());
    cell.runs = encodeRuns(this.raster.labels);
    this.painter.changed(box);
    this.measure();
    this.keepDraft();
    this.sync.push();
  }

  // The browser's own numbers come at once; slips of a large image a moment later.
  measure() {
    const { labels } = this.raster;
    const { y0, y1 } = this.painter.box ?? this.raster.whole;
    this.areas = areas(labels.subarray(y0 * this.raster.width, y1 * this.raster.width));
    clearTimeout(this.later);
    this.later = 0;
    if (labels.length > LARGE_PX) this.later = setTimeout(() => (this.look(), this.refresh()), 60);
    else this.look();
    this.refresh();
  }

  look() {
    this.later = 0;
    this.found = survey(this.raster, this.areas);
    this.painter.marks = this.found.marks;
    this.painter.box = this.found.box;
    const { labels } = this.raster;
    this.likeness = this.blind ? null : [CYTOPLASM, NUCLEUS].map((least) => dice(labels, this.model, least));
    this.painter.ask();
  }

  get slips() {
    if (this.later || !this.found) {
      clearTimeout(this.later);
      this.look();
    }
    return this.found;
  }

  // Drafts.

  async keepDraft() {
    const { cell, offer } = this;
    // A tab that only looks on, or has not looked for a draft yet, must not remove one.
    if (this.readOnly || !(this.others || this.changedHere)) return;
    const own = this.changedHere ? { runs: cell.runs, rev: cell.rev, when: Date.now(), older: offer } : offer;
    const kept = own ? await this.drafts.put(cell.id, own) : await this.drafts.remove(cell.id);
    this.unkept = kept === false;
    if (this.unkept) this.refresh();
  }

  async findDraft() {
    const { data, cell } = this;
    const found = await this.drafts.get(data.id);
    this.drafts.prune(Date.now());
    if (this.end.signal.aborted) return;
    const fits = (draft) => draft && draft.rev > cell.savedRev;
    this.others = [found, found?.older].filter(fits).concat(data.draft ?? []);
    this.offerNext();
  }

  offerNext() {
    const { cell } = this;
    this.offer = draftToOffer(this.others ?? [], [cell.runs, cell.start, cell.clean], Date.now());
    this.refresh();
  }

  restore() {
    const { offer } = this;
    this.offer = null;
    this.refresh();
    if (offer) this.takeUp(offer.runs, "restore");
  }

  forget() {
    this.others = this.others.filter(({ runs }) => runs !== this.offer?.runs);
    this.offerNext();
    this.keepDraft();
  }

  // Acts.

  ask(kind) {
    if (this.sync.pending || this.stroke) return;
    const { news, cell } = this;
    if (kind === "next" || kind === "previous") {
      if (news[`has_${kind}`]) this.act(kind, {});
      return;
    }
    if (kind === "close") return void this.act(kind, {});
    if (this.readOnly) return;
    if (kind === "discard") {
      this.takeUp(cell.clean, "discard");
      [this.offer, this.others] = [null, []];
      this.drafts.remove(cell.id);
      return void this.act(kind, {});
    }
    if (kind === "accept" && this.changedHere) kind = "save";
    else if (kind === "save" && !this.changedHere) return;
    const pieces = this.slips.parts - 1;
    if (kind === "save" && pieces > 0) {
      this.bar("save", this.words.askSave.replace("{pieces}", piecesSaid(pieces)));
      this.find(".bar-save button").focus();
      return;
    }
    this.confirmed(kind);
  }

  confirmed(kind) {
    this.bar("save", "");
    this.panel.ask(kind, this.who, (said) => {
      if (said.who) memory.who = said.who;
      this.act(kind, said);
    });
  }

  tidySave() {
    this.whole("tidy");
    this.saveAsIs();
  }

  saveAsIs() {
    this.confirmed("save");
  }

  takeOver() {
    this.tabs.take();
    this.refresh();
  }

  act(kind, { who = this.who, why = "", reasons = [] }) {
    const { cell } = this;
    this.countTime();
    this.answer("");
    const { id, rev, runs } = cell;
    cell.told = { rev, runs };
    const [pieces, seconds] = [this.slips.parts, Math.round(cell.seconds * 10) / 10];
    this.sync.act({ id, kind, rev, runs, who, why, reasons, pieces, tools: { ...cell.tools }, seconds, blind: this.blind });
    memory.act = cell.lastAct;
  }

  // News from the server (editor_news.js).
  take(news) {
    if (!news || news.id !== this.cell.id) return;
    const { cell } = this;
    this.news = news;
    const { savedRev, measured } = cell;
    const answer = this.sync.news(news);
    if (cell.measured > measured) cell.since = Date.now();
    if (cell.savedRev > savedRev) this.saved();
    // An answer that comes late, or with the next cell, is told, too.
    const said = answer ?? (news.said?.n === memory.act ? news.said : null);
    if (said) this.answer(said.words, said.ok);
    if (answer) {
      if (answer.ok && ["accept", "save", "reject", "unsure"].includes(answer.kind)) Object.assign(cell, { tools: {}, seconds: 0 });
      if (answer.ok && answer.kind === "take_back") {
        this.takeUp(this.data.model, "revert");
        cell.clean = cell.runs;
        this.keepDraft();
      }
    }
    this.refresh();
  }

  saved() {
    const { cell } = this;
    if (cell.savedRev >= cell.rev) cell.clean = cell.runs;
    else if (cell.told?.rev === cell.savedRev) cell.clean = cell.told.runs;
    // What was saved is newer than these; a draft of the server's has no revision.
    this.others = this.others?.filter(({ rev }) => !(rev <= cell.savedRev));
    this.offerNext();
    this.keepDraft();
  }

  heard(what) {
    if (what?.late) this.answer(this.words.noAnswer, false);
    this.refresh();
  }

  countTime(over = false) {
    const now = Date.now();
    if (this.openedAt) this.cell.seconds += (now - this.openedAt) / 1000;
    this.openedAt = over || document.visibilityState !== "visible" ? null : now;
  }

  // Buttons and keys.

  pick(tool) {
    this.cancelStroke();
    memory.tool = tool;
    this.hoverAt(this.pointed);
    this.refresh();
  }

  setBrush(size) {
    memory.size = Math.min(Math.max(Math.round(size), 1), MOST_BRUSH_PX);
    this.hoverAt(this.pointed);
    this.refresh();
  }

  resizeBrush(step) {
    this.setBrush(memory.size + step * Math.max(Math.round(memory.size / 10), 1));
  }

  hoverAt(place) {
    this.pointed = place;
    const point = memory.tool === "wand" || memory.tool === "drop";
    this.painter.hover = place && !point && !this.readOnly ? { ...place, size: memory.size } : null;
    this.painter.ask();
  }

  seen() {
    this.painter.ask();
    this.find(".zoom").textContent = `${Math.round((100 * this.view.scale) / this.view.least)} %`;
  }

  zoomBy(factor) {
    this.view.zoomAt(factor);
    if (this.cross) this.view.show(this.cross);
    this.seen();
  }

  fit() {
    this.view.toggle();
    this.seen();
  }

  toggleModel() {
    if (this.blind) return;
    memory.model = !memory.model;
    this.refresh();
  }

  unblind() {
    this.cell.unblinded = true;
    this.measure();
  }

  toggleCross() {
    this.cancelStroke();
    const middle = this.view.toImage(this.view.room.width / 2, this.view.room.height / 2);
    this.cross = this.cross ? null : { x: 0, y: 0, on: false };
    if (this.cross) this.placeCross(middle.x, middle.y);
    this.refresh();
    this.canvas.focus({ preventScroll: true });
  }

  // In the middle of a pixel.
  placeCross(x, y) {
    const { width, height } = this.raster;
    this.cross.x = Math.min(Math.max(Math.floor(x), 0), width - 1) + 0.5;
    this.cross.y = Math.min(Math.max(Math.floor(y), 0), height - 1) + 0.5;
    this.view.show(this.cross);
    this.hoverAt({ x: this.cross.x, y: this.cross.y });
  }

  moveCross([dx, dy], px) {
    this.placeCross(this.cross.x + dx * px, this.cross.y + dy * px);
    if (this.stroke) this.moveStroke({ x: this.cross.x, y: this.cross.y });
  }

  pressCross(shiftKey) {
    if (this.stroke) this.endStroke();
    else this.cross.on = this.beginStroke({ x: this.cross.x, y: this.cross.y }, { shiftKey });
    this.painter.ask();
  }

  toggleKeys() {
    const keys = this.find(".keys");
    keys.hidden = !keys.hidden;
    this.refresh();
  }

  // Leaves a stroke or closes what is open, never the work.
  escape() {
    if (this.stroke) this.cancelStroke();
    else if (this.panel.open) this.panel.close();
    else if (!this.find(".bar-save").hidden) this.bar("save", "");
    else if (!this.find(".keys").hidden) this.toggleKeys();
    else if (this.cross) this.toggleCross();
    this.canvas.focus({ preventScroll: true });
  }

  // What is shown.

  bar(name, text) {
    const bar = this.find(`.bar-${name}`);
    bar.hidden = !text;
    write(bar.querySelector("span"), text);
  }

  answer(text, ok = true) {
    const said = this.find(".answer");
    write(said, text);
    said.classList.toggle("bad", !ok);
  }

  refresh() {
    const { cell, news, words, blind, found, sync, painter } = this;
    if (!this.areas) return;
    const { tool, size } = memory;
    const may = !this.readOnly;
    const slips = found ? slipsSaid(found.marks) : "";
    const decided = news.status && news.status !== "taken_back";
    painter.showModel = memory.model && !blind;
    painter.cross = this.cross;
    const acts = {
      accept: may, save: may && this.changedHere, reject: may, unsure: may, next: news.has_next, previous: news.has_previous,
      take_back: may && decided, discard: may && this.changedHere, close: true,
    };
    const can = {
      undo: may && cell.steps.done.length, redo: may && cell.steps.undone.length, fill: may, smooth: may,
      revert: may && !blind && cell.runs !== this.modelRuns, toggleModel: !blind,
    };
    const on = { [tool]: true, toggleModel: painter.showModel, toggleCross: this.cross, toggleKeys: !this.find(".keys").hidden };
    const walks = news.has_next || news.has_previous;
    const shown = { next: walks, previous: walks, take_back: decided, tidy: may && slips, takeOver: !this.tabs.owns };
    for (const button of this.root.querySelectorAll("button")) {
      const { tool: draws, whole, deed, act } = button.dataset;
      const name = draws ?? whole ?? deed ?? act;
      if (draws) button.disabled = !may;
      if (name in can) button.disabled = !can[name];
      if (act) button.disabled = Boolean(sync.pending) || !acts[act];
      if (name in shown) button.hidden = !shown[name];
      if (draws || name in on) button.setAttribute("aria-pressed", String(Boolean(on[name])));
    }
    this.find(".size").value = String(size);
    write(this.find(".size-said"), `${size} px`);
    write(this.find(".position"), news.position ?? "");
    if (sync.pending) this.answer(words.sending);
    else if (this.find(".answer").textContent === words.sending) this.answer("");
    this.bar("tab", this.tabs.owns ? (news.read_only ? words.readOnly : "") : words.elsewhere);
    this.bar("draft", this.offer && may ? words.draft.replace("{time}", clock(this.offer.when)) : "");
    this.bar("blind", blind ? words.blind : "");
    this.bar("server", sync.down ? words.gone : this.unkept ? words.unkept : "");

    const { cell: cellPx, nucleus } = this.areas;
    const said = [`Cell ${areaSaid(cellPx, this.data.um)}`, `nucleus ${areaSaid(nucleus, this.data.um)}`];
    if (cellPx) said.push(`N:C ${(nucleus / cellPx).toFixed(2)}`);
    if (found) said.push(found.parts === 1 ? "1 part" : `${found.parts} parts`);
    write(this.find(".numbers"), said.join(" \u00b7 "));
    const [likeCell, likeNucleus] = (!blind && this.likeness) || [];
    write(this.find(".dice"), likeCell >= 0 ? `${words.dice} cell ${likeCell.toFixed(3)}, nucleus ${likeNucleus.toFixed(3)}` : "");
    write(this.find(".tool-said"), words[tool] + (tool === "wand" || tool === "drop" ? "" : `, ${size} px`));
    write(this.find(".measured"), words[sync.state]);
    // The page's own numbers are those of an older outline then (style.css).
    document.documentElement.toggleAttribute("data-outline-late", sync.state === "late");
    this.find(".measured").dataset.state = sync.state;
    const settled = words[news.status] ?? (cell.savedRev > UNTOUCHED ? words.saved : words.unchanged);
    write(this.find(".state"), this.changedHere ? words.unsaved : settled);
    const notes = [slips && `${slips}.`, cellPx ? !nucleus && words.noNucleus : words.noCell, found?.atEdge && words.atEdge];
    write(this.find(".notes span"), notes.filter(Boolean).join(" "));
    this.seen();
  }
}

// Only what is another text is written: a screen reader reads what is written.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
