import assert from "node:assert/strict";
import test from "node:test";

import { Raster, areas, dice, drawLine, drawnBox, dropPart, fillHoles, smooth, survey, tidy, wandAt } from "../../pages/_ui/components/editor/raster.js";

const LABELS = { ".": 0, c: 2, n: 3 };
const SIGNS = { 0: ".", 2: "c", 3: "n" };
const raster = (...rows) => new Raster(rows[0].length, rows.length, Uint8Array.from(rows.join(""), (c) => LABELS[c]));
const rows = ({ labels, width, height }) => Array.from({ length: height }, (_, y) => Array.from(labels.subarray(y * width, (y + 1) * width), (v) => SIGNS[v]).join(""));
const empty = (width, height = width) => new Raster(width, height, new Uint8Array(width * height));
const point = (x, y) => ({ x, y });

test("a brush of 1 px sets the pixel that the pointer is in, wherever in it", () => {
  for (const [dx, dy] of [[0.01, 0.01], [0.5, 0.5], [0.99, 0.99], [0, 0]]) {
    const one = empty(5);
    drawLine(one, point(2 + dx, 3 + dy), point(2 + dx, 3 + dy), 1, { label: 2 });
    assert.deepEqual([one.labels.indexOf(2), areas(one.labels).cell], [17, 1]);
  }
});

test("every other brush sets at least a pixel, and none is wider than its diameter", () => {
  for (let d = 2; d <= 12; d++) {
    const one = empty(20);
    drawLine(one, point(10.3, 9.8), point(10.3, 9.8), d, { label: 2 });
    const box = drawnBox(one);
    assert.ok(box.x1 - box.x0 - 2 <= d && box.y1 - box.y0 - 2 <= d && areas(one.labels).cell > 0, `${d}`);
  }
});

test("a thin line hangs together over sides", () => {
  for (const to of [point(30.2, 11.7), point(3.3, 35.9), point(0.1, 0.1), point(39.9, 20.2)]) {
    const one = empty(40);
    drawLine(one, point(20.4, 20.6), to, 1, { label: 2 });
    assert.equal(survey(one).parts, 1);
  }
});

test("a brush at the edge and beyond it paints what is in the image", () => {
  const one = empty(4);
  drawLine(one, point(-2, -2), point(1, 1), 4, { label: 3 });
  drawLine(one, point(9, 3.5), point(3.5, 3.5), 1, { label: 2 });
  assert.deepEqual(rows(one), ["nnn.", "nnn.", "nn..", "...c"]);
});

test("a brush that spares the nucleus does, and none paints other cells", () => {
  const one = raster(".n..", ".n..");
  one.keepOut = Uint8Array.of(0, 0, 0, 2, 0, 0, 0, 0);
  drawLine(one, point(0.5, 0.5), point(3.5, 0.5), 1, { label: 2, spare: true });
  drawLine(one, point(0.5, 1.5), point(3.5, 1.5), 1, { label: 2 });
  assert.deepEqual(rows(one), ["cnc.", "cccc"]);
});

test("holes are what does not reach the edge over sides", () => {
  const one = raster("ccccc", "c.c.c", "cnnnc", "cn.nc", "cnnnc", ".c.cc");
  fillHoles(one);
  assert.deepEqual(rows(one), ["ccccc", "ccccc", "cnnnc", "cnnnc", "cnnnc", ".c.cc"]);
});

test("a part goes without those that only touch its corners", () => {
  const one = raster("cc..", "nc..", "..cc");
  dropPart(one, 0);
  assert.deepEqual(rows(one), ["....", "....", "..cc"]);
  dropPart(one, 0);
  assert.equal(areas(one.labels).cell, 2);
});

function slips() {
  const one = empty(60, 40);
  drawLine(one, point(25, 20), point(25, 20), 34, { label: 2 });
  drawLine(one, point(25, 20), point(25, 20), 20, { label: 3 });
  const at = (x, y, label) => (one.labels[y * 60 + x] = label);
  at(55, 3, 3); // a piece that is a speck, too
  at(25, 5, 0); // a hole in the cytoplasm
  at(25, 20, 0); // and one in the nucleus
  at(12, 20, 3); // a speck
  at(22, 20, 2); // a gap
  return one;
}

test("slips are found and mended together", () => {
  const one = slips();
  const found = survey(one);
  assert.deepEqual(found.marks.map(({ kind }) => kind).sort(), ["gap", "hole", "hole", "piece", "speck", "speck"]);
  assert.equal(found.parts, 2);
  tidy(one);
  assert.deepEqual(survey(one).marks, []);
  assert.equal(one.labels[20 * 60 + 25], 3);
  assert.equal(one.labels[3 * 60 + 55], 0);
});

test("a second large piece of nucleus is no slip, a second cell is", () => {
  const one = raster(".......", ".nncnn.", "ccccccc", ".......", "ccc....");
  assert.deepEqual(survey(one).marks.map(({ kind, places }) => [kind, places.length]), [["piece", 3]]);
});

test("a hole that holds another cell is none", () => {
  const one = raster("ccc", "c.c", "ccc");
  one.keepOut = new Uint8Array(9);
  one.keepOut[4] = 2;
  assert.deepEqual(survey(one).marks, []);
});

test("a cell at the edge of the picture is told from one that is not", () => {
  assert.equal(survey(raster("...", ".c.", "...")).atEdge, false);
  for (const edge of [["c..", "...", "..."], ["...", "..c", "..."], ["...", "...", ".c."]]) assert.ok(survey(raster(...edge)).atEdge);
  assert.equal(survey(raster("...")).parts, 0);
});

test("smoothing takes spikes and fills notches, and leaves what is straight", () => {
  const one = raster("..........", "....c.....", "cccccccccc", "cccccccccc", "cccccccccc", "cccccccccc", "nnnnnnnnnn", "nnnnnnnnnn", "nnnnnnnnnn");
  smooth(one, 1);
  assert.deepEqual(rows(one).slice(0, 3), ["..........", "..........", "cccccccccc"]);
  assert.deepEqual(rows(one).slice(5, 7), ["cccccccccc", "nnnnnnnnnn"]);
});

test("the wand takes what hangs together and looks alike", () => {
  const grey = [200, 200, 90, 200, 200, 200, 200, 90, 200, 200, 200, 200, 90, 90, 90, 200, 200, 200, 200, 200];
  const rgba = Uint8ClampedArray.from(grey.flatMap((v) => [v, v, v, 255]));
  const one = empty(5, 4);
  wandAt(one, rgba, 0, 0, 70, { label: 2 });
  assert.equal(areas(one.labels).cell, 11);
  const two = empty(5, 4);
  wandAt(two, rgba, 4, 3, 400, { label: 3 });
  assert.equal(areas(two.labels).nucleus, 20);
});

test("Dice of equal rasters is 1, of disjoint ones 0, of empty ones 1", () => {
  const [a, b] = [Uint8Array.of(0, 2, 3), Uint8Array.of(2, 0, 0)];
  assert.deepEqual([dice(a, a, 2), dice(a, b, 2), dice(a, b, 3), dice(b, b, 3)], [1, 0, 0, 1]);
});
