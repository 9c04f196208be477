// A box or a lasso in the making. Of the state it changes `path`, what is drawn so far in px, and `corners`, those that
// were set by keys.

import { polygon, strokes } from "./pen.js";
import { area, rectangle, simplified } from "./polygons.js";

export const CLICK_PX = 5; // a pointer that moved further between down and up has drawn
const LEAST_AREA_PX = 40; // what is smaller was a slip of the hand

// The pointer is drawn to a place, by way of others; says whether it has left the place where it went down.
export function drag(state, place, others) {
  const { down } = state;
  down.moved = Math.max(down.moved, Math.hypot(place[0] - down.place[0], place[1] - down.place[1]));
  if (down.moved < CLICK_PX) return false;
  if (state.mode === "box") state.path = rectangle(down.place, place);
  else (state.path ??= [down.place]).push(...others, place);
  return true;
}

// A corner where the cross stands. Gives the path that this closes, by the second corner of a box or by a lasso's last
// one set again, or else null.
export function setCorner(state) {
  const corners = (state.corners ??= []);
  const again = corners.length > 0 && corners.at(-1).every((px, i) => px === state.cross[i]);
  if (!again) corners.push([...state.cross]);
  if (state.mode === "box" && corners.length === 2) return rectangle(...corners);
  if (state.mode === "lasso" && again) return corners;
  state.path = [...corners];
  return null;
}

// The path goes on from the corners to the cross.
export function follow(state) {
  if (!state.corners) return;
  if (state.mode === "box") state.path = rectangle(state.corners[0], state.cross);
  else if (state.mode === "lasso") state.path = [...state.corners, state.cross];
}

export function forget(state) {
  Object.assign(state, { path: null, corners: null });
}

// A path as it is kept, of few vertices; null where it is no more than a slip.
export function finished(path) {
  const kept = simplified(path);
  return kept.length < 3 || area(kept) < LEAST_AREA_PX ? null : kept;
}

export function drawPath(pen, path, open, { ink, paper }) {
  pen.beginPath();
  polygon(pen, path);
  if (!open) pen.closePath();
  pen.fillStyle = ink;
  pen.globalAlpha = 0.07;
  pen.fill();
  pen.globalAlpha = 1;
  strokes(pen, [3, paper], [1.5, ink, [5, 4]]);
}
