import assert from "node:assert/strict";
import test from "node:test";

import { decodeRuns, eachRun, encodeRuns, packRuns } from "../../pages/_ui/components/editor/runs.js";
import { chance } from "./editor_chance.mjs";

test("runs come back as they were, whatever their lengths", () => {
  const next = chance(1);
  for (const most of [1, 2, 31, 32, 200, 70000]) {
    const labels = Uint8Array.from({ length: 30 }, () => [0, 2, 3][next(3)]);
    const long = new Uint8Array([...labels].flatMap((v) => Array(1 + next(most)).fill(v)));
    assert.deepEqual(decodeRuns(encodeRuns(long), long.length), long);
  }
});

test("what is no label map of this size is none", () => {
  const good = encodeRuns(Uint8Array.of(0, 0, 2, 3));
  for (const bad of ["", "!", good.slice(0, -2), encodeRuns(Uint8Array.of(0, 0, 2)), encodeRuns(Uint8Array.of(0, 1, 2, 3)), undefined]) {
    assert.equal(decodeRuns(bad, 4), null);
  }
  assert.equal(decodeRuns(good, 5), null);
});

test("a cell of 360 px takes about a kilobyte", () => {
  const labels = new Uint8Array(360 * 360);
  for (let i = 0; i < labels.length; i++) {
    const far = Math.hypot((i % 360) - 180, Math.floor(i / 360) - 180);
    labels[i] = far < 60 ? 3 : far < 110 ? 2 : 0;
  }
  assert.ok(encodeRuns(labels).length < 2000);
});

test("runs of larger values are packed alike", () => {
  const seen = [];
  const total = eachRun(packRuns(Uint8Array.of(6, 6, 1, 0), 3), 3, (...run) => seen.push(run));
  assert.deepEqual([seen, total], [[[0, 2, 6], [2, 1, 1], [3, 1, 0]], 4]);
});
