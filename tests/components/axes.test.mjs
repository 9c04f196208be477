import assert from "node:assert/strict";
import test from "node:test";

import { Plane, scaleOf } from "../../pages/_ui/components/scatter/axes.js";

const words = (axis, n) => scaleOf(axis).ticks(n).map(([, text]) => text);
const near = (value, expected) => assert.ok(Math.abs(value - expected) < 1e-9, `${value} is not ${expected}`);

test("ticks of a plain axis are ones, twos or fives that lie on it", () => {
  assert.deepEqual(words({ low: 0, high: 1 }, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
  assert.deepEqual(words({ low: -7, high: 12000 }, 4), ["0", "5,000", "10,000"]);
  assert.deepEqual(words({ low: -2.5, high: 2.5 }, 5), ["\u22122", "\u22121", "0", "1", "2"]);
});

test("ticks of a logarithmic axis are as many as there is room for", () => {
  const axis = { low: 1, high: 100, log: true };
  assert.deepEqual(words(axis, 11), ["1", "2", "3", "5", "7", "10", "20", "30", "50", "70", "100"]);
  assert.deepEqual(words(axis, 4), ["1", "3", "10", "30", "100"]);
  assert.deepEqual(words({ low: 1, high: 1e6, log: true }, 3), ["1", "1,000", "1,000,000"]);
});

test("a logarithmic axis of less than a decade has the ticks of a plain one", () => {
  assert.deepEqual(words({ low: 10, high: 50, log: true }, 4), words({ low: 10, high: 50 }, 4));
});

test("a value without a logarithm has no place", () => {
  const { at } = scaleOf({ low: 1, high: 100, log: true });
  near(at(10), 0.5);
  assert.ok(Number.isNaN(at(0)));
  assert.ok(Number.isNaN(at(-1)));
});

function plane() {
  const made = new Plane({ x: { low: 0, high: 10 }, y: { low: 1, high: 1000, log: true }, height: 460 });
  made.width = 700;
  return made;
}

test("values go to the canvas and back, the axes' ends to its edges", () => {
  const at = plane();
  assert.deepEqual(at.toPx([0, 1]), [at.left, at.foot]);
  assert.deepEqual(at.toPx([10, 1000]), [at.right, at.top]);
  const [x, y] = at.toValues(at.toPx([3, 20]));
  near(x, 3);
  near(y, 20);
});

test("a place beyond the axes is brought to their edge, a value beyond them is not held", () => {
  const at = plane();
  assert.deepEqual(at.within([-50, 1000]), [at.left, at.foot]);
  assert.deepEqual(at.within(at.middle), at.middle);
  assert.ok(at.holds([5, 10]));
  assert.ok(!at.holds([11, 10]));
  assert.ok(!at.holds([5, -1]));
});
