// Mouse and pen draw. One finger draws, too, until a pen was seen: then it is the palm or moves the picture. Two
// fingers move and enlarge, and leave no mark.

const PALM_MS = 500; // a touch so soon after the pen is the hand that holds it

export function listenToPointers(editor, signal) {
  const { canvas, view } = editor;
  const fingers = new Map();
  let [drawing, panning, pen, penDown, penAt] = [null, null, false, false, -Infinity];
  const on = (name, act, passive = true) => canvas.addEventListener(name, act, { signal, passive });
  const placed = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const at = (event) => view.toImage(...placed(event));
  const stop = () => {
    if (drawing !== null) editor.cancelStroke();
    drawing = null;
  };

  on("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    const touch = event.pointerType === "touch";
    if (event.pointerType === "pen") [pen, penDown, penAt] = [true, true, performance.now()];
    if (touch && (penDown || performance.now() - penAt < PALM_MS)) return;
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that a program made
    }
    if (touch) {
      fingers.set(event.pointerId, placed(event));
      if (fingers.size > 1) {
        stop();
        panning = null;
        return;
      }
    }
    if (drawing !== null) return;
    if (event.button === 1 || editor.space || (touch && pen)) panning = { id: event.pointerId, from: placed(event) };
    else if (event.button === 0 && editor.beginStroke(at(event), event)) drawing = event.pointerId;
    else if (event.button === 5 && editor.beginStroke(at(event), { altKey: true })) drawing = event.pointerId; // a pen's eraser
  });

  on("pointermove", (event) => {
    if (event.pointerType === "pen") penAt = performance.now();
    if (event.pointerType === "touch" && !fingers.has(event.pointerId)) return;
    if (fingers.size > 1 && event.pointerType === "touch") {
      const [a, b] = [...fingers.values()];
      fingers.set(event.pointerId, placed(event));
      const [c, d] = [...fingers.values()];
      const gap = (p, q) => Math.max(Math.hypot(p[0] - q[0], p[1] - q[1]), 1);
      const middle = (p, q) => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
      const [was, is] = [middle(a, b), middle(c, d)];
      view.moveBy(is[0] - was[0], is[1] - was[1]);
      view.zoomAt(gap(c, d) / gap(a, b), ...is);
      editor.seen();
      return;
    }
    if (panning?.id === event.pointerId) {
      const to = placed(event);
      view.moveBy(to[0] - panning.from[0], to[1] - panning.from[1]);
      panning.from = to;
      editor.seen();
      return;
    }
    if (drawing === event.pointerId) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) editor.moveStroke(at(one));
    }
    editor.hoverAt(event.pointerType === "touch" && drawing === null ? null : at(event));
  });

  const up = (event) => {
    fingers.delete(event.pointerId);
    if (event.pointerType === "pen") [penDown, penAt] = [false, performance.now()];
    if (panning?.id === event.pointerId) panning = null;
    if (drawing === event.pointerId) {
      drawing = null;
      editor.endStroke();
    }
    if (event.pointerType === "touch") editor.hoverAt(null);
  };
  on("pointerup", up);
  on("pointercancel", (event) => {
    if (drawing === event.pointerId) stop();
    up(event);
  });
  // Where the element is taken away under the pointer, what is drawn so far stays.
  on("lostpointercapture", up);
  on("pointerleave", () => drawing === null && editor.hoverAt(null));
  on("contextmenu", (event) => event.preventDefault(), false);
  on("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // plain wheel scrolls the page
    event.preventDefault();
    view.zoomAt(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...placed(event));
    editor.seen();
  }, false);
}
