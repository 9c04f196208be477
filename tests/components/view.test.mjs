import assert from "node:assert/strict";
import test from "node:test";

import { View } from "../../pages/_ui/components/editor/view.js";

const HOME = { x0: 300, y0: 200, x1: 360, y1: 260 };

test("a cell that is a small part of the image is shown large at first, in the middle", () => {
  const view = new View(640, 480, HOME);
  view.resize(640, 480);
  assert.ok(view.scale > 3);
  const middle = view.toImage(320, 240);
  assert.ok(Math.abs(middle.x - 330) < 1e-9 && Math.abs(middle.y - 230) < 1e-9);
});

test("one key goes from the cell to the whole image and back, and a resized page keeps which", () => {
  const view = new View(640, 480, HOME);
  view.resize(640, 480);
  view.toggle();
  assert.equal(view.scale, 1);
  view.resize(320, 240);
  assert.equal(view.scale, 0.5);
  view.toggle();
  assert.ok(view.scale > 1);
});

test("a cell that fills the image, or none, is seen with all of it", () => {
  for (const home of [null, { x0: 0, y0: 0, x1: 640, y1: 480 }]) {
    const view = new View(640, 480, home);
    view.resize(640, 480);
    assert.equal(view.scale, 1);
  }
});

test("who has zoomed or moved keeps the part when the page is resized", () => {
  const view = new View(640, 480, HOME);
  view.resize(640, 480);
  view.zoomAt(2);
  const { scale } = view;
  view.resize(500, 400);
  assert.equal(view.scale, scale);
});
