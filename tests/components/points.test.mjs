import assert from "node:assert/strict";
import test from "node:test";

import { Points, scattered } from "../../pages/_ui/components/scatter/points.js";
import { base64, colour, picture } from "./sent.mjs";

const marks = {
  kind: "points",
  x: base64([1, 2, NaN, 4], Float32Array),
  y: base64([1, 2, 3, 4], Float32Array),
  group: base64([0, 1, 0, -1], Int16Array),
  value: null,
  words: ["first", "second", "third", "fourth"],
  of: null,
};

// As drawn at 10 px a unit, without a canvas.
function placed() {
  const points = new Points({ ...picture, marks });
  points.x.forEach((x, i) => ([points.at.x[i], points.at.y[i]] = [10 * x, 10 * points.y[i]]));
  return points;
}

test("numbers arrive as they were sent", () => {
  const { x, y, group, value, n } = new Points({ ...picture, marks });
  assert.deepEqual([[...x], [...y], [...group], value, n], [[1, 2, NaN, 4], [1, 2, 3, 4], [0, 1, 0, -1], null, 4]);
});

test("the nearest cell within reach is found, and none beyond it or without a place", () => {
  const points = placed();
  assert.equal(points.find(null, [12, 12], null, 12), 0);
  assert.equal(points.find(null, [16, 16], null, 12), 1);
  assert.equal(points.find(null, [100, 100], null, 12), null);
  assert.equal(points.find(null, [10, 30], null, 5), null);
});

test("where a group is brought out only its cells are found", () => {
  const points = placed();
  assert.equal(points.find(null, [12, 12], 1, 22), 1);
  assert.equal(points.find(null, [12, 12], 1, 5), null);
});

test("before they are drawn no cell is found", () => {
  assert.equal(new Points({ ...picture, marks }).find(null, [12, 12], null, 1000), null);
});

test("a cell says its group, its words and its values", () => {
  const points = new Points({ ...picture, marks });
  assert.deepEqual(points.lines(1), ["B", "second", "area: 2.00", "hue: 2.00"]);
  assert.deepEqual(points.lines(3)[0], "in no group");
  const value = base64([0, 0.5, NaN, 1], Float32Array);
  const toned = new Points({ ...picture, colour, marks: { ...marks, words: [], value } });
  assert.deepEqual(toned.lines(1), ["B", "area: 2.00", "hue: 2.00", "size: 0.500"]);
  assert.equal(toned.lines(2).at(-1), "size: \u2013");
});

test("the picture says when its cells are a sample", () => {
  const said = (of) => new Points({ ...picture, marks: { ...marks, of } }).said();
  assert.deepEqual([said(null), said(4)], [[], []]);
  assert.deepEqual(said(9000), ["4 cells drawn of 9,000, by chance."]);
});

test("the legend has a sign for cells of no group where there are any", () => {
  assert.ok(new Points({ ...picture, marks }).someInNoGroup);
  assert.ok(!new Points({ ...picture, marks: { ...marks, group: base64([0, 1, 0, 1], Int16Array) } }).someInNoGroup);
});

test("every cell is drawn once, and the groups mixed", () => {
  for (const n of [0, 1, 2, 3, 10, 200, 987, 1000, 20000]) {
    const order = [...scattered(n)];
    assert.equal(order.length, n);
    assert.equal(new Set(order).size, n);
  }
  const first = [...scattered(1000)].slice(0, 100);
  const early = first.filter((i) => i < 500).length;
  assert.ok(early > 40 && early < 60, `${early} of the first hundred are of the first half`);
});
