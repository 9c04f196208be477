import assert from "node:assert/strict";
import test from "node:test";

import { tipCorner } from "../../pages/_ui/components/scatter/tooltip.js";

const plane = { width: 700, height: 460 };

test("the words stand right of the hand and below it", () => {
  assert.deepEqual(tipCorner([100, 100], [200, 80], plane), [116, 114]);
});

test("near the right edge they stand left of the hand, near the foot above its place", () => {
  assert.deepEqual(tipCorner([650, 100], [200, 80], plane), [434, 114]);
  assert.deepEqual(tipCorner([100, 455], [200, 80], plane), [116, 376]);
});

test("they never begin beyond the picture, however narrow it is", () => {
  assert.deepEqual(tipCorner([150, 10], [280, 80], { width: 300, height: 60 }), [2, 2]);
});
