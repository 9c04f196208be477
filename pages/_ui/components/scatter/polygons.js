// Polygons as lists of corners [x, y].

const MOST_VERTICES = 100;

export function rectangle([x, y], [toX, toY]) {
  return [[x, y], [toX, y], [toX, toY], [x, toY]];
}

export function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

export function area(polygon) {
  const twice = polygon.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = polygon[(i + 1) % polygon.length];
    return sum + x * nextY - nextX * y;
  }, 0);
  return Math.abs(twice) / 2;
}

// Ramer, Douglas and Peucker, with twice the tolerance until few enough vertices are left.
export function simplified(path) {
  let tolerance = 0.5;
  let kept = thinned(path, tolerance);
  while (kept.length > MOST_VERTICES) kept = thinned(path, (tolerance *= 2));
  return kept;
}

function thinned(path, tolerance) {
  const keep = new Uint8Array(path.length);
  keep[0] = keep[path.length - 1] = 1;
  const parts = [[0, path.length - 1]];
  while (parts.length) {
    const [from, to] = parts.pop();
    const far = farthest(path, from, to, tolerance);
    if (far === null) continue;
    keep[far] = 1;
    parts.push([from, far], [far, to]);
  }
  return path.filter((_, i) => keep[i]);
}

// The vertex between two others that lies farthest from the line through them; null where all are within the tolerance.
function farthest(path, from, to, tolerance) {
  const [ax, ay] = path[from];
  const [dx, dy] = [path[to][0] - ax, path[to][1] - ay];
  const length = Math.hypot(dx, dy);
  let [most, index] = [tolerance, null];
  for (let i = from + 1; i < to; i++) {
    const [px, py] = [path[i][0] - ax, path[i][1] - ay];
    const distance = length ? Math.abs(px * dy - py * dx) / length : Math.hypot(px, py);
    if (distance > most) [most, index] = [distance, i];
  }
  return index;
}
