import assert from "node:assert/strict";
import test from "node:test";

import { Raster, drawLine, fillHoles } from "../../pages/_ui/components/editor/raster.js";
import { Steps } from "../../pages/_ui/components/editor/steps.js";
import { chance } from "./editor_chance.mjs";

const cell = (side) => {
  const made = new Raster(side, side, new Uint8Array(side * side));
  drawLine(made, { x: side / 2, y: side / 2 }, { x: side / 2, y: side / 2 }, side * 0.7, { label: 2 });
  drawLine(made, { x: side / 2, y: side / 2 }, { x: side / 2, y: side / 2 }, side * 0.4, { label: 3 });
  return made;
};

function edited(raster, steps, n, seed) {
  const next = chance(seed);
  const states = [raster.labels.slice()];
  while (steps.done.length < n) {
    const before = raster.labels.slice();
    const place = () => ({ x: next(10 * raster.width) / 10, y: next(10 * raster.height) / 10 });
    const kind = next(8);
    let box = raster.whole;
    if (kind === 0) fillHoles(raster);
    else if (kind === 1) raster.labels.set(states[0]);
    else box = drawLine(raster, place(), place(), 1 + next(20), { label: [0, 2, 3][next(3)], spare: next(2) === 1 });
    if (steps.record(raster, before, box)) states.push(raster.labels.slice());
  }
  return states;
}

test("250 steps are undone one by one, and done again", () => {
  const raster = cell(80);
  const steps = new Steps();
  const states = edited(raster, steps, 250, 7);
  for (let k = 249; k >= 0; k--) {
    assert.ok(steps.undo(raster));
    assert.deepEqual(raster.labels, states[k]);
  }
  assert.equal(steps.undo(raster), null);
  for (let k = 1; k <= 250; k++) {
    assert.ok(steps.redo(raster));
    assert.deepEqual(raster.labels, states[k]);
  }
  assert.equal(steps.redo(raster), null);
});

test("a new stroke ends what could be done again, one that changes nothing does not", () => {
  const raster = cell(40);
  const steps = new Steps();
  edited(raster, steps, 3, 2);
  steps.undo(raster);
  assert.equal(steps.record(raster, raster.labels.slice(), raster.whole), false);
  assert.equal(steps.undone.length, 1);
  const before = raster.labels.slice();
  raster.labels[0] = 2;
  assert.ok(steps.record(raster, before, raster.whole));
  assert.equal(steps.undone.length, 0);
});

test("200 steps over a whole large image take less than 64 MB", () => {
  const raster = cell(2000);
  const steps = new Steps();
  const [full, none] = [raster.labels.slice(), new Uint8Array(raster.labels.length)];
  for (let k = 0; k < 200; k++) {
    const before = k % 2 ? none : full;
    raster.labels.set(k % 2 ? full : none);
    steps.record(raster, before, raster.whole);
  }
  assert.equal(steps.done.length, 200);
  assert.ok(steps.bytes < 64 * 2 ** 20, `${steps.bytes}`);
});

test("what does not fit in the memory goes, the oldest first, and the last step stays", () => {
  const raster = cell(60);
  const steps = new Steps(100, 400);
  const states = edited(raster, steps, 2, 3).slice(-2);
  
  steps.undo(raster);
  assert.deepEqual(raster.labels, states[0]);
});
