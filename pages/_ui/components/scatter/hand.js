// What a pointer, a finger or the keys do on the upper canvas.

import { CLICK_PX, drag, follow, setCorner } from "./lasso.js";

const KEY_STEP_PX = 12;
const FINE_STEP_PX = 2;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function listenToPointer(view) {
  const { over, plane, state } = view;
  const placeOf = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const within = (event) => plane.within(placeOf(event));

  over.onpointerdown = (event) => {
    if (event.button !== 0) return;
    state.cross = null;
    // Kept, so that a page that runs again meanwhile does not end a drag.
    state.down = { place: within(event), moved: 0 };
    if (state.mode) over.setPointerCapture(event.pointerId);
  };
  over.onpointermove = (event) => {
    if (!state.down || !state.mode) return view.hover(placeOf(event), event.pointerType);
    const others = (event.getCoalescedEvents?.() ?? []).map(within);
    if (drag(state, within(event), others)) view.leave();
  };
  over.onpointerup = (event) => {
    const { down } = state;
    if (!down) return;
    state.down = null;
    const [px, py] = placeOf(event);
    if (state.mode && down.moved >= CLICK_PX) view.choose(state.path);
    else if (Math.hypot(px - down.place[0], py - down.place[1]) < 2 * CLICK_PX) view.pick([px, py], event.pointerType);
  };
  over.onpointercancel = () => {
    state.down = null;
    view.dropPath();
  };
  over.onpointerleave = () => !state.down && view.leave();
}

export function listenToKeys(view) {
  const { root, over, plane, state } = view;
  const act = () => {
    if (!state.mode) return view.pick(state.cross, "touch");
    const closed = setCorner(state);
    if (closed) view.choose(closed);
    else view.drawOver();
  };

  over.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    state.cross ??= plane.middle;
    if (!step) return act();
    const stride = event.shiftKey ? FINE_STEP_PX : KEY_STEP_PX;
    state.cross = plane.within(state.cross.map((px, i) => px + step[i] * stride));
    follow(state);
    view.hover(state.cross);
  };
  over.onblur = () => {
    state.cross = null;
    view.leave();
  };
  root.onkeydown = (event) => event.key === "Escape" && view.clear();
}
