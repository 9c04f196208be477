import assert from "node:assert/strict";
import test from "node:test";

import { Tracer } from "../../pages/_ui/components/editor/trace.js";
import { View } from "../../pages/_ui/components/editor/view.js";
import { chance } from "./editor_chance.mjs";

// Even-odd, at the pixels' centres.
function filled(rings, width, height) {
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let inside = 0;
      for (const ring of rings) {
        for (let k = 0; k < ring.length; k += 2) {
          const [ax, ay, bx, by] = [ring[k], ring[k + 1], ring[(k + 2) % ring.length], ring[(k + 3) % ring.length]];
          if (ax === bx && ax <= x && Math.min(ay, by) <= y && y < Math.max(ay, by)) inside ^= 1;
        }
      }
      labels[y * width + x] = inside;
    }
  }
  return labels;
}

test("lines around pixels, filled, are the pixels", () => {
  const next = chance(11);
  const tracer = new Tracer(13, 9);
  for (let k = 0; k < 300; k++) {
    const labels = Uint8Array.from({ length: 117 }, () => (next(100) < k / 3 ? 2 : 0));
    const rings = tracer.rings(labels, 2, { x0: 0, y0: 0, x1: 13, y1: 9 });
    assert.deepEqual(filled(rings, 13, 9), labels.map((v) => v / 2));
  }
});

test("a part that touches another over a corner has a line of its own", () => {
  const rings = new Tracer(2, 2).rings(Uint8Array.of(3, 0, 0, 3), 3, { x0: 0, y0: 0, x1: 2, y1: 2 });
  assert.deepEqual(rings, [[1, 0, 1, 1, 0, 1, 0, 0], [2, 1, 2, 2, 1, 2, 1, 1]]);
});

test("the view keeps the place under the pointer when it is enlarged, and some of the image always", () => {
  const view = new View(300, 200);
  view.resize(600, 600);
  assert.deepEqual([view.scale, view.x, view.y], [2, 0, 100]);
  const place = view.toImage(123, 234);
  view.zoomAt(7, 123, 234);
  const same = view.toImage(123, 234);
  assert.ok(Math.abs(same.x - place.x) < 1e-9 && Math.abs(same.y - place.y) < 1e-9);
  view.zoomAt(1e9);
  assert.equal(view.scale, 64);
  view.moveBy(1e9, -1e9);
  assert.ok(view.x <= 600 && view.y + 200 * 64 > 0);
  view.zoomAt(1e-9);
  assert.deepEqual([view.scale, view.touched], [2, false]);
});

test("a page that is resized leaves a part that was chosen", () => {
  const view = new View(100, 100);
  view.resize(400, 400);
  view.resize(500, 500);
  assert.equal(view.scale, 5);
  view.zoomAt(3);
  view.resize(450, 450);
  assert.equal(view.scale, 15);
});
