// Plays sequences of edits with the editor's own functions. Reads them as JSON, writes the runs that they end in.

import { readFileSync } from "node:fs";

import { Raster, drawLine, dropPart, fillHoles, smooth, tidy, wandAt } from "../../pages/_ui/components/editor/raster.js";
import { decodeRuns, encodeRuns } from "../../pages/_ui/components/editor/runs.js";

function played({ width, height, start, keep_out, grey, edits }) {
  const size = width * height;
  const raster = new Raster(width, height, decodeRuns(start, size), keep_out && decodeRuns(keep_out, size));
  const seen = Buffer.from(grey, "base64");
  const rgba = new Uint8ClampedArray(4 * size);
  for (let i = 0; i < size; i++) rgba.set([seen[i], (3 * seen[i]) & 255, 255 - seen[i], 255], 4 * i);
  for (const { kind, points, size: diameter, label, spare, tolerance, radius } of edits) {
    const brush = { label, spare };
    if (kind === "line") {
      for (let k = 0; k < points.length; k++) {
        const [a, b] = [points[Math.max(k - 1, 0)], points[k]];
        drawLine(raster, { x: a[0], y: a[1] }, { x: b[0], y: b[1] }, diameter, brush);
      }
    }
    const [column, row] = points ? points[0].map(Math.floor) : [];
    if (kind === "wand") wandAt(raster, rgba, column, row, tolerance, brush);
    if (kind === "drop") dropPart(raster, row * width + column);
    if (kind === "fill") fillHoles(raster);
    if (kind === "smooth") smooth(raster, radius);
    if (kind === "tidy") tidy(raster);
  }
  return encodeRuns(raster.labels);
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(played)));
