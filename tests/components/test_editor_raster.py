"""What is drawn in the browser is, to the pixel, what Python measures, files and reads back.

200 sequences of edits are played by the editor's own script and by the functions below, which are written another way.
"""

import base64
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.draw import polygon2mask

from core.domain.compartments import Compartment
from core.domain.types import as_label_map
from core.image.imaging import encode_png
from core.image.masks import encode_grey, outlines
from core.image.runs import decode_runs, encode_runs

HERE = Path(__file__).parent
SEQUENCES = 200
BATCH = 20
WAND_REACH_PX = 400
SPECK_SHARE = 0.03
SIDES = [*range(50, 90)] * 4 + [127, 200, 255, 301, 363, 500, 601]


class Twin:
    """The raster's tools in numpy, scipy and scikit-image."""

    def __init__(self, labels, keep_out, rgb):
        self.labels, self.keep_out, self.rgb = labels.copy(), keep_out, rgb

    def paint(self, where, label, *, spare=False):
        where = where & ~self.keep_out
        if spare:
            where &= self.labels != Compartment.NUCLEUS
        self.labels[where] = label

    def line(self, points, size, label, spare):
        for a, b in zip([points[0], *points], points, strict=False):
            self.paint(self.way(a, b) if size == 1 else self.passed(a, b, size / 2), label, spare=spare)

    def passed(self, a, b, r):
        """Pixels whose centre is nearer than r to the way from a to b."""
        height, width = self.labels.shape
        ux, uy = np.arange(width) + 0.5 - a[0], (np.arange(height) + 0.5 - a[1])[:, None]
        dx, dy = b[0] - a[0], b[1] - a[1]
        long = dx * dx + dy * dy
        t = np.clip((ux * dx + uy * dy) / long, 0, 1) if long else np.zeros((height, width))
        ex, ey = ux - t * dx, uy - t * dy
        return ex * ex + ey * ey < r * r

    def way(self, a, b):
        """Pixels whose square the way from a to b runs through."""
        height, width = self.labels.shape
        crossed = [(0.0, 0, 0)]
        for axis, (p, q) in enumerate(zip(a, b, strict=True)):
            low, high = sorted((int(np.floor(p)), int(np.floor(q))))
            step = 1 if q > p else -1
            crossed += [((border - p) / (q - p), 1 - axis, step) for border in range(low + 1, high + 1)]
        crossed.sort()
        steps = np.array([[by if axis == 1 else 0, by if axis == 0 else 0] for _, axis, by in crossed])
        columns, rows = (np.floor(a).astype(int) + steps.cumsum(axis=0)).T
        inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
        found = np.zeros((height, width), bool)
        found[rows[inside], columns[inside]] = True
        return found

    def wand(self, column, row, tolerance, label, spare):
        if self.keep_out[row, column]:
            return
        near = self.rgb[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].reshape(-1, 3).astype(int)
        away = ((self.rgb.astype(int) * len(near) - near.sum(axis=0)) ** 2).sum(axis=2)
        alike = (away <= (len(near) * tolerance) ** 2) & ~self.keep_out
        alike[row, column] = True
        reach = np.zeros_like(alike)
        reach[
            max(row - WAND_REACH_PX, 0) : row + WAND_REACH_PX + 1,
            max(column - WAND_REACH_PX, 0) : column + WAND_REACH_PX + 1,
        ] = True
        parts, _ = ndimage.label(alike & reach)
        self.paint(parts == parts[row, column], label, spare=spare)

    def drop(self, column, row):
        parts, _ = ndimage.label(self.labels >= Compartment.CYTOPLASM)
        if parts[row, column]:
            self.paint(parts == parts[row, column], 0)

    def fill(self):
        for label in (Compartment.CYTOPLASM, Compartment.NUCLEUS):
            mask = self.labels >= label
            self.paint(ndimage.binary_fill_holes(mask) & ~mask, label)

    def smooth(self, radius):
        reach = np.arange(-radius, radius + 1)
        disc = (reach[:, None] ** 2 + reach**2 <= (radius + 0.5) ** 2).astype(int)
        count = lambda mask: ndimage.convolve(mask.astype(int), disc, mode="constant")  # noqa: E731
        total = count(np.ones_like(self.labels))
        labels = np.zeros_like(self.labels)
        labels[2 * count(self.labels >= Compartment.CYTOPLASM) > total] = Compartment.CYTOPLASM
        labels[2 * count(self.labels == Compartment.NUCLEUS) > total] = Compartment.NUCLEUS
        self.labels = np.where(self.keep_out, self.labels, labels)

    def tidy(self):
        for _ in range(2):
            cell, nucleus = self.labels >= Compartment.CYTOPLASM, self.labels == Compartment.NUCLEUS
            if not cell.any():
                return
            small = SPECK_SHARE * np.count_nonzero(nucleus)
            parts, _ = ndimage.label(cell)
            sizes = np.bincount(parts.ravel())[1:]
            off = cell & (parts != 1 + int(sizes.argmax()))
            holes = ndimage.binary_fill_holes(cell) & ~cell
            specks = self.small(nucleus, small) & nucleus & ~off
            gaps = self.small(ndimage.binary_fill_holes(nucleus) & ~nucleus, small, of=self.labels)
            self.paint(off, 0)
            self.paint(holes, Compartment.CYTOPLASM)
            self.paint(specks, Compartment.CYTOPLASM)
            self.paint(gaps, Compartment.NUCLEUS)

    @staticmethod
    def small(mask, most, of=None):
        """Parts below a size; with `of` only those whose first pixel there is cytoplasm."""
        parts, n = ndimage.label(mask)
        sizes, firsts = np.bincount(parts.ravel(), minlength=n + 1), np.unique(parts, return_index=True)
        keep = sizes < most
        keep[0] = False
        if of is not None:
            for part, first in zip(*firsts, strict=True):
                keep[part] &= of.ravel()[first] == Compartment.CYTOPLASM
        return keep[parts]


def drawing(rng, width, height):
    y, x = np.ogrid[:height, :width]
    far = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    labels = np.zeros((height, width), np.uint8)
    labels[far < rng.uniform(0.2, 0.45)] = Compartment.CYTOPLASM
    labels[far < rng.uniform(0.1, 0.25)] = Compartment.NUCLEUS
    return labels


def edits(rng, width, height):
    corners = [[0.0, 0.0], [width - 0.01, 0.0], [0.0, height - 0.01], [width - 0.01, height - 0.01]]
    for _ in range(int(rng.integers(4, 14))):
        kind = rng.choice(["line", "line", "line", "line", "wand", "drop", "fill", "smooth", "tidy"])
        points = rng.uniform((0, 0), (width - 0.01, height - 0.01), (int(rng.integers(1, 6)), 2))
        if kind == "line":
            points = points + rng.uniform(-20, 20, points.shape)  # beyond the edges, too
            if rng.random() < 0.3:
                points = np.floor(points) + 0.5  # as the keys place them
        points = points.tolist()
        if rng.random() < 0.15:
            points[0] = corners[int(rng.integers(4))]
        yield {
            "kind": str(kind),
            "points": points,
            "size": int(rng.choice([1, 1, 2, 3, 5, 12, 33, 200])),
            "label": int(rng.choice([0, 2, 3])),
            "spare": bool(rng.random() < 0.5),
            "tolerance": int(rng.integers(0, 140)),
            "radius": int(rng.integers(1, 4)),
        }


def sequence(seed):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.choice(SIDES, 2))
    if seed % 50 == 0:
        width, height = [(2000, 53), (50, 50), (61, 1999), (1200, 1111)][seed // 50]
    keep_out = np.zeros((height, width), bool)
    if rng.random() < 0.4:
        top, left = (int(rng.integers(side)) for side in (height, width))
        keep_out[top : top + 25, left : left + 40] = True
    labels = drawing(rng, width, height)
    labels[keep_out] = 0
    coarse = rng.integers(0, 255, (height // 9 + 1, width // 9 + 1)).astype(np.uint8)
    grey = coarse.repeat(9, axis=0).repeat(9, axis=1)[:height, :width]
    grey = (grey // 2 + rng.integers(0, 9, (height, width))).astype(np.uint8)
    return labels, keep_out, grey, list(edits(rng, width, height))


def twin(labels, keep_out, grey, steps):
    rgb = np.stack([grey, grey * np.uint8(3), 255 - grey], axis=2)
    made = Twin(labels, keep_out, rgb)
    for step in steps:
        column, row = (int(v) for v in step["points"][0])
        match step["kind"]:
            case "line":
                made.line(step["points"], step["size"], step["label"], step["spare"])
            case "wand":
                made.wand(column, row, step["tolerance"], step["label"], step["spare"])
            case "drop":
                made.drop(column, row)
            case "fill":
                made.fill()
            case "smooth":
                made.smooth(step["radius"])
            case "tidy":
                made.tidy()
    return made.labels


def played(node, sequences):
    sent = [
        {
            "height": labels.shape[0],
            "width": labels.shape[1],
            "start": encode_runs(labels),
            "keep_out": encode_runs(keep_out * np.uint8(2)) if keep_out.any() else None,
            "grey": base64.b64encode(grey.tobytes()).decode(),
            "edits": steps,
        }
        for labels, keep_out, grey, steps in sequences
    ]
    done = subprocess.run(
        [node, HERE / "editor_played.mjs"], input=json.dumps(sent), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read_back(labels):
    """Labels from the outlines of their regions, filled by even and odd."""
    found = np.zeros_like(labels)
    for region in ("nucleus", "cytoplasm"):
        mask = np.zeros(labels.shape, bool)
        for ring in outlines(labels, region):
            mask ^= polygon2mask(labels.shape, ring[:, ::-1] - 0.5)
        found[mask] = Compartment[region.upper()]
    return found


@pytest.mark.parametrize("first", range(0, SEQUENCES, BATCH))
def test_edits_end_in_the_same_pixels_in_the_browser_and_in_python(node, first):
    sequences = [sequence(seed) for seed in range(first, first + BATCH)]
    for seed, (sent, runs) in enumerate(zip(sequences, played(node, sequences), strict=True), first):
        labels, expected = decode_runs(runs, sent[0].shape), twin(*sent)
        assert labels is not None, seed
        assert np.array_equal(labels, expected), (seed, np.argwhere(labels != expected)[:5], sent[3])
        assert encode_runs(labels) == runs, seed
        assert set(np.unique(labels)) <= {0, 2, 3}, seed
        assert not labels[sent[1]].any(), seed
        with Image.open(io.BytesIO(encode_png(encode_grey(labels)))) as mask:
            assert np.array_equal(np.asarray(mask) // 85, labels), seed
        assert np.array_equal(read_back(labels), labels), seed


def test_the_environment_is_no_part_of_what_is_sent():
    labels = as_label_map(np.array([[0, 1, 2, 3]], np.uint8))
    assert np.array_equal(decode_runs(encode_runs(labels), (1, 4)), [[0, 0, 2, 3]])
