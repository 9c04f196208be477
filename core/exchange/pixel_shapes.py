"""Regions of pixels as other programs write them: run lengths, and polygons along the edges of the pixels."""

import numpy as np
from numpy.typing import NDArray


def run_lengths(region: NDArray[np.bool_], top: int, left: int, shape: tuple[int, int]) -> str:
    """COCO's compressed run lengths of a region (h, w) whose first pixel is at `top`, `left` of an image of (H, W)."""
    columns, rows = np.nonzero(region.T)
    pixels = (columns + left) * shape[0] + rows + top  # they go down the columns
    ends = np.flatnonzero(np.diff(pixels) > 1)
    starts = pixels[np.concatenate([[0], ends + 1])]
    stops = pixels[np.concatenate([ends, [len(pixels) - 1]])] + 1
    edges = np.concatenate([[0], np.column_stack([starts, stops]).ravel(), [shape[0] * shape[1]]])
    counts = np.diff(edges)
    return _packed(counts[:-1] if counts[-1] == 0 else counts)


def _packed(counts: NDArray[np.int64]) -> str:
    """Five bits a character, from the third count on as differences to the last but one (`maskApi.c` of COCO)."""
    text = []
    for at, count in enumerate(counts.tolist()):
        value = count - (int(counts[at - 2]) if at > 2 else 0)
        while True:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 * more) + 48))
            if not more:
                break
    return "".join(text)


def pixel_polygons(region: NDArray[np.bool_]) -> tuple[list[NDArray[np.int64]], bool]:
    """The outer edges of a region (h, w), each as (N, 2) corners x, y of pixels, not closed; and whether it has holes.

    Parts are 4-connected: at a corner where two parts only touch, each keeps its own edge.
    """
    inside = np.pad(region, 1)
    after: dict[tuple[int, int, int], tuple[int, int]] = {}
    # The region lies to the right of every step: along its upper edges to the right, and so on around.
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    for way, (down, right) in enumerate(steps):
        outer = inside & ~np.roll(inside, (right, -down), (0, 1))
        rows, columns = np.nonzero(outer)
        first = ((0, 0), (0, 1), (1, 1), (1, 0))[way]
        for row, column in zip((rows + first[0] - 1).tolist(), (columns + first[1] - 1).tolist(), strict=True):
            after[row, column, way] = (row + down, column + right)
    rings, holes = [], False
    while after:
        key = next(iter(after))
        corners, way = [], -1
        while key in after:
            if key[2] != way:
                corners.append((key[1], key[0]))
            way = key[2]
            row, column = after.pop(key)
            # To the right first, so that parts which touch at a corner stay apart.
            turns = ((way + 1) % 4, way, (way + 3) % 4)
            key = next(((row, column, turn) for turn in turns if (row, column, turn) in after), (row, column, -1))
        ring = np.array(corners, np.int64)
        x, y = ring.T
        if np.dot(x, np.roll(y, -1)) > np.dot(np.roll(x, -1), y):
            rings.append(ring)
        else:
            holes = True
    return rings, holes
