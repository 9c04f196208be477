import assert from "node:assert/strict";
import test from "node:test";

import { cells, described, number, status } from "../../pages/_ui/components/scatter/words.js";

test("numbers have three digits, thousands apart, a dash where there is none", () => {
  const shown = { 0: "0", 1: "1.00", 0.0123: "0.0123", 123.4: "123", 45678: "45,678", "-1.5": "\u22121.50" };
  for (const [value, text] of Object.entries(shown)) assert.equal(number(Number(value)), text);
  for (const absent of [null, NaN, Infinity]) assert.equal(number(absent), "\u2013");
});

test("very large and very small numbers are powers of ten", () => {
  assert.equal(number(1e7), "10\u2077");
  assert.equal(number(2.5e12), "2.5\u00d710\u00b9\u00b2");
  assert.equal(number(-3e-6), "-3\u00d710\u207b\u2076");
});

test("one cell is a cell, more are cells", () => {
  assert.equal(cells(1), "1 cell");
  assert.equal(cells(12345), "12,345 cells");
});

const marks = { absent: 2, said: () => ["What it shows."] };

test("the line above says what a hand can do and which cells are missing", () => {
  const shown = "What it shows. 2 cells without a value here.";
  assert.equal(status({ pick: false }, null, marks), shown);
  assert.equal(status({ pick: true }, null, marks), `Click a cell to look at it. ${shown}`);
  assert.equal(status({ pick: true }, "lasso", { ...marks, absent: 0 }), "Draw around cells. What it shows.");
});

test("who does not see the picture hears what it shows and what the keys do", () => {
  const shown = { x: { title: "area" }, y: { title: "hue" }, groups: [{ name: "A", n: 3 }, { name: "B", n: 4 }] };
  assert.equal(described(shown), "Scatter of hue against area; A 3, B 4. Arrows move a cross");
  assert.match(described({ ...shown, pick: true, select: true }), /Enter looks at the nearest cell; with a tool/);
});
