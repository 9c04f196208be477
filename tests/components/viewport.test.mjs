import assert from "node:assert/strict";
import test from "node:test";

import { Viewport } from "../../pages/_ui/components/viewer/viewport.js";

const whole = { left: 0, top: 0, width: 200, height: 100 };
const port = () => new Viewport({ width: 200, height: 100 });

test("at first the whole picture is seen, and it cannot be made smaller or moved away", () => {
  const view = port();
  assert.deepEqual(view.box, whole);
  view.zoomBy(1 / 1.5);
  view.moveBy(50, -50);
  assert.deepEqual(view.box, whole);
});

test("an enlarged picture keeps its middle", () => {
  const view = port();
  view.zoomBy(4);
  assert.deepEqual(view.box, { left: 75, top: 37.5, width: 50, height: 25 });
});

test("it moves with the hand, and no further than to the picture's edge", () => {
  const view = port();
  view.zoomBy(2);
  view.moveBy(20, -10);
  assert.deepEqual(view.box, { left: 60, top: 20, width: 100, height: 50 });
  view.moveBy(1000, -1000);
  assert.deepEqual(view.box, { left: 100, top: 0, width: 100, height: 50 });
});

test("made smaller at an edge, nothing beyond the picture is seen", () => {
  const view = port();
  view.zoomBy(4);
  view.moveBy(1000, 1000);
  view.zoomBy(1 / 2);
  assert.deepEqual(view.box, { left: 100, top: 50, width: 100, height: 50 });
});

test("there is a largest enlargement, and a way back from anywhere", () => {
  const view = port();
  for (let i = 0; i < 20; i++) view.zoomBy(2);
  assert.equal(view.zoom, 16);
  view.moveBy(-500, 300);
  view.fit();
  assert.deepEqual([view.zoom, view.box], [1, whole]);
});
