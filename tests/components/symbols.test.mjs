import assert from "node:assert/strict";
import test from "node:test";

import { between, share } from "../../pages/_ui/components/scatter/symbols.js";

test("a value's share of the colour bar ends at its ends and is none where the value is", () => {
  const bar = { low: 10, high: 20 };
  assert.deepEqual([5, 10, 15, 20, 25].map((v) => share(bar, v)), [0, 0, 0.5, 1, 1]);
  assert.ok(Number.isNaN(share(bar, NaN)));
});

test("colours between two stops are mixed of both", () => {
  const stops = ["#000000", "#0080ff", "#ffffff"];
  assert.equal(between(stops, 0), "rgb(0,0,0)");
  assert.equal(between(stops, 0.25), "rgb(0,64,128)");
  assert.equal(between(stops, 0.5), "rgb(0,128,255)");
  assert.equal(between(stops, 1), "rgb(255,255,255)");
});
