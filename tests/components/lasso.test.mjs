import assert from "node:assert/strict";
import test from "node:test";

import { drag, finished, follow, forget, setCorner } from "../../pages/_ui/components/scatter/lasso.js";

const nothing = { path: null, corners: null, cross: null, down: null };
const pressed = (mode, place) => ({ ...nothing, mode, down: { place, moved: 0 } });
const keyed = (mode) => ({ ...nothing, mode });

function corner(state, place) {
  state.cross = place;
  return setCorner(state);
}

test("a hand that trembles has drawn nothing", () => {
  const state = pressed("lasso", [10, 10]);
  assert.equal(drag(state, [12, 13], []), false);
  assert.equal(state.path, null);
});

test("a lasso goes through every place the pointer came by", () => {
  const state = pressed("lasso", [10, 10]);
  assert.equal(drag(state, [30, 10], [[20, 10]]), true);
  drag(state, [30, 30], []);
  assert.deepEqual(state.path, [[10, 10], [20, 10], [30, 10], [30, 30]]);
});

test("a lasso that comes back near its start goes on", () => {
  const state = pressed("lasso", [10, 10]);
  drag(state, [30, 10], []);
  assert.equal(drag(state, [11, 11], []), true);
});

test("a box spans from where the pointer went down to where it is", () => {
  const state = pressed("box", [10, 10]);
  drag(state, [40, 20], [[20, 20]]);
  drag(state, [30, 50], []);
  assert.deepEqual(state.path, [[10, 10], [30, 10], [30, 50], [10, 50]]);
});

test("a box of keys is closed by its second corner", () => {
  const state = keyed("box");
  assert.equal(corner(state, [10, 10]), null);
  state.cross = [40, 30];
  follow(state);
  assert.deepEqual(state.path, [[10, 10], [40, 10], [40, 30], [10, 30]]);
  assert.deepEqual(setCorner(state), state.path);
});

test("a lasso of keys is closed by its last corner set again", () => {
  const state = keyed("lasso");
  for (const place of [[0, 0], [40, 0], [40, 40]]) assert.equal(corner(state, place), null);
  state.cross = [0, 40];
  follow(state);
  assert.deepEqual(state.path.at(-1), [0, 40]);
  assert.deepEqual(corner(state, [40, 40]), [[0, 0], [40, 0], [40, 40]]);
});

test("a corner stays where it was set when the cross goes on", () => {
  const state = keyed("lasso");
  corner(state, [5, 5]);
  state.cross[0] = 50;
  assert.deepEqual(state.corners, [[5, 5]]);
});

test("before the first corner the cross draws nothing, and what is half drawn can be forgotten", () => {
  const state = { ...keyed("box"), cross: [1, 2] };
  follow(state);
  assert.equal(state.path, null);
  setCorner(state);
  forget(state);
  assert.deepEqual([state.path, state.corners], [null, null]);
});

test("what is smaller than a slip of the hand is not kept", () => {
  assert.equal(finished([[0, 0], [6, 0], [6, 6], [0, 6]]), null);
  assert.equal(finished([[0, 0], [50, 0]]), null);
  assert.deepEqual(finished([[0, 0], [7, 0], [7, 7], [0, 7]]), [[0, 0], [7, 0], [7, 7], [0, 7]]);
});
