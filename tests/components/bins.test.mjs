import assert from "node:assert/strict";
import test from "node:test";

import { Plane } from "../../pages/_ui/components/scatter/axes.js";
import { Bins } from "../../pages/_ui/components/scatter/bins.js";
import { base64, colour, picture } from "./sent.mjs";

// A grid of two columns and three rows; cells in the first column's second square and in the second's third.
const marks = {
  kind: "bins",
  absent: 7,
  xEdges: [0, 5, 10],
  yEdges: [0, 3, 6, 9],
  place: base64([1, 5], Uint32Array),
  counts: base64([2, 300, 40, 40], Uint16Array),
  bytes: 2,
  value: null,
};
const bins = new Bins({ ...picture, marks });

test("counts are added up over the groups, and the commonest group is known, the first of equal ones", () => {
  assert.deepEqual([...bins.total], [302, 80]);
  assert.deepEqual([...bins.commonest], [1, 0]);
});

test("counts may take one, two or four bytes", () => {
  for (const [bytes, type] of [[1, Uint8Array], [2, Uint16Array], [4, Uint32Array]]) {
    const one = new Bins({ ...picture, marks: { ...marks, bytes, counts: base64([200, 200, 0, 1], type) } });
    assert.deepEqual([...one.total], [400, 1]);
  }
});

test("the square under a place is found where it holds cells", () => {
  const plane = Object.assign(new Plane(picture), { width: 700 });
  assert.equal(bins.find(plane, plane.toPx([2, 4])), 0);
  assert.equal(bins.find(plane, plane.toPx([7, 8])), 1);
  assert.equal(bins.find(plane, plane.toPx([7, 4])), null);
  assert.equal(bins.find(plane, plane.toPx([-1, 4])), null);
  assert.equal(bins.find(plane, plane.toPx([2, 9.5])), null);
});

test("a square says its groups, the largest first, and those without a cell not at all", () => {
  assert.deepEqual(bins.lines(0), ["302 cells here", "B: 300", "A: 2"]);
  const one = new Bins({ ...picture, marks: { ...marks, counts: base64([0, 1, 1, 0], Uint16Array) } });
  assert.deepEqual(one.lines(0), ["1 cell here", "B: 1"]);
});

test("a square has the colour of most of its cells, of a group brought out, or of their mean value", () => {
  assert.equal(bins.colourOf(0, null), "#0000ff");
  assert.equal(bins.colourOf(0, 0), "#ff0000");
  const toned = new Bins({ ...picture, colour, marks: { ...marks, value: base64([0.5, NaN], Float32Array) } });
  assert.equal(toned.colourOf(0, null), "rgb(128,128,128)");
  assert.equal(toned.colourOf(1, null), "#888888");
  assert.equal(toned.lines(0).at(-1), "size, mean: 0.500");
});

test("the picture says that it counts, and what its colours mean", () => {
  assert.deepEqual(bins.said(), ["382 cells counted in squares; the colour is that of most of them."]);
  const toned = new Bins({ ...picture, colour, marks: { ...marks, value: base64([0, 0], Float32Array) } });
  assert.deepEqual(toned.said(), ["382 cells counted in squares."]);
});
