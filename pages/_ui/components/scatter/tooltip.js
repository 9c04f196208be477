// The box of words beside what the hand is on.

const BESIDE = 16;
const BELOW = 14;

export function showTip(tip, lines, place, plane) {
  tip.hidden = false;
  tip.replaceChildren(
    ...lines.map((textContent, i) => {
      return Object.assign(document.createElement("div"), { textContent, className: i ? "" : "strong" });
    }),
  );
  const [left, top] = tipCorner(place, [tip.offsetWidth, tip.offsetHeight], plane);
  tip.style.left = `${left}px`;
  tip.style.top = `${top}px`;
}

// The upper left corner, right of the place and below it, where there is room; never beyond the picture.
export function tipCorner([px, py], [width, height], plane) {
  const beside = px + BESIDE + width > plane.width ? px - BESIDE - width : px + BESIDE;
  return [
    Math.max(2, Math.min(beside, plane.width - width - 2)),
    Math.max(2, Math.min(py + BELOW, plane.height - height - 4)),
  ];
}
