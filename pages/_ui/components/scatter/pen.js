// What a canvas cannot do by itself.

// The context of an emptied canvas of the plane's size, in px of the page whatever the pixels of the screen.
export function emptied(canvas, { width, height }) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

export function clipped(pen, { left, top, right, foot }, draw) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, right - left, foot - top);
  pen.clip();
  draw();
  pen.restore();
}

export function line(pen, x, y, toX, toY) {
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
}

export function polygon(pen, corners) {
  corners.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}

// One line over another, so that it is seen on any ground: [width, colour, dashes] each.
export function strokes(pen, ...lines) {
  for (const [lineWidth, strokeStyle, dashes = []] of lines) {
    Object.assign(pen, { lineWidth, strokeStyle });
    pen.setLineDash(dashes);
    pen.stroke();
  }
  pen.setLineDash([]);
}

export function circle(pen, [x, y], radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

// Around a cell that is meant.
export function ring(pen, place, { ink, paper }) {
  circle(pen, place, 7);
  strokes(pen, [4.5, paper], [2, ink]);
}

// The cell that the page is about: a dot in a ring.
export function target(pen, place, { ink, paper }) {
  circle(pen, place, 6);
  pen.fillStyle = ink;
  pen.fill();
  strokes(pen, [2, paper]);
  circle(pen, place, 10);
  strokes(pen, [2, ink]);
}

export function cross(pen, [x, y], { ink, paper }) {
  pen.beginPath();
  line(pen, x - 9, y, x + 9, y);
  line(pen, x, y - 9, x, y + 9);
  strokes(pen, [4, paper], [1.5, ink]);
}

// As much of a text as there is room for.
export function fitting(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`${kept}\u2026`).width > room) kept = kept.slice(0, -1);
  return `${kept}\u2026`;
}
