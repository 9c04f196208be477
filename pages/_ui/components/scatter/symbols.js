// How a cell looks: its shape and its colour.

// Vega's symbols, of about the same area; corners in radii from the middle. A circle has none.
const [ARM, REACH] = [0.38, 1.15];
const CORNERS = {
  square: [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
  diamond: [[0, -1.25], [1.05, 0], [0, 1.25], [-1.05, 0]],
  cross: [
    [-ARM, -REACH], [ARM, -REACH], [ARM, -ARM], [REACH, -ARM], [REACH, ARM], [ARM, ARM],
    [ARM, REACH], [-ARM, REACH], [-ARM, ARM], [-REACH, ARM], [-REACH, -ARM], [-ARM, -ARM],
  ],
  "triangle-up": [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
  "triangle-right": [[1.2, 0], [-0.8, 1.1], [-0.8, -1.1]],
  "triangle-down": [[0, 1.2], [-1.1, -0.8], [1.1, -0.8]],
  "triangle-left": [[-1.2, 0], [0.8, -1.1], [0.8, 1.1]],
};

function outline(pen, shape, middle, radius) {
  pen.beginPath();
  if (!(shape in CORNERS)) return pen.arc(middle, middle, radius, 0, 2 * Math.PI);
  for (const [x, y] of CORNERS[shape]) pen.lineTo(middle + x * radius, middle + y * radius);
  pen.closePath();
}

// A picture of a symbol, drawn once and stamped as often as there are cells of this look.
export function stamp(shape, colour, edge, radius) {
  const ratio = window.devicePixelRatio || 1;
  const side = Math.ceil(2 * (radius * 1.3 + 1));
  const size = Math.ceil(side * ratio);
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  outline(pen, shape, side / 2, radius);
  pen.fillStyle = colour;
  pen.fill();
  pen.lineWidth = radius > 3 ? 0.8 : 0.5;
  pen.strokeStyle = edge;
  pen.stroke();
  return { canvas, side };
}

// How far along the colour bar a value lies, from 0 to 1; nan where it is none.
export function share({ low, high }, v) {
  return Math.min(Math.max((v - low) / (high - low), 0), 1);
}

// The colour a share of the way along stops of "#rrggbb".
export function between(stops, t) {
  const place = t * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  const channel = (colour, c) => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = (from, to) => Math.round(from + (to - from) * (place - i));
  return `rgb(${[0, 1, 2].map((c) => mixed(channel(stops[i], c), channel(stops[i + 1], c))).join(",")})`;
}
