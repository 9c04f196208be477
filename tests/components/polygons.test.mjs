import assert from "node:assert/strict";
import test from "node:test";

import { area, inside, rectangle, simplified } from "../../pages/_ui/components/scatter/polygons.js";

const SQUARE = rectangle([0, 0], [10, 10]);

test("a rectangle has four corners in turn, an area, and an inside", () => {
  assert.deepEqual(SQUARE, [[0, 0], [10, 0], [10, 10], [0, 10]]);
  assert.equal(area(SQUARE), 100);
  assert.equal(area([...SQUARE].reverse()), 100);
  assert.ok(inside(SQUARE, 5, 5));
  assert.ok(!inside(SQUARE, 11, 5));
});

test("the bay of a hollow shape is outside it", () => {
  const horseshoe = [[0, 0], [10, 0], [10, 10], [7, 10], [7, 3], [3, 3], [3, 10], [0, 10]];
  assert.ok(inside(horseshoe, 1, 8));
  assert.ok(!inside(horseshoe, 5, 8));
});

test("vertices on a straight line go, corners stay", () => {
  const path = [];
  for (let x = 0; x <= 100; x++) path.push([x, 0]);
  for (let y = 1; y <= 100; y++) path.push([100, y]);
  assert.deepEqual(simplified(path), [[0, 0], [100, 0], [100, 100]]);
});

test("of the longest way around at most 100 vertices are left, and they enclose nearly the same", () => {
  const path = Array.from({ length: 5000 }, (_, i) => {
    const turn = (2 * Math.PI * i) / 5000;
    const radius = 200 + 20 * Math.sin(60 * turn);
    return [radius * Math.cos(turn), radius * Math.sin(turn)];
  });
  const kept = simplified(path);
  assert.ok(kept.length > 3 && kept.length <= 100, `${kept.length}`);
  assert.deepEqual(kept[0], path[0]);
  assert.deepEqual(kept.at(-1), path.at(-1));
  assert.ok(Math.abs(area(kept) / area(path) - 1) < 0.15);
});

test("a path of a single place is no polygon and does no harm", () => {
  assert.deepEqual(simplified([[3, 3]]), [[3, 3]]);
  assert.equal(simplified([[3, 3], [3, 3], [3, 3]]).length, 2);
});
