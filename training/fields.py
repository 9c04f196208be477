"""Fields composed of real cells with known outlines, and how well the cells of such fields are found and outlined."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.types import LabelMap
from core.evaluation.metrics import overlap
from core.image.masks import cell_mask, region_mask
from core.segmentation.field_of_view import FieldCell, find_cells
from core.segmentation.segmenter import Segmenter
from training.augmentation import LabelledImage
from training.evaluate import REGIONS
from training.neighbours import count_other_nuclei

# A cell found is the cell drawn where they share at least half of their union; so none is counted twice.
MATCH_IOU: Final = 0.5
# Cells that stand apart keep this share of their diameter between them.
_APART: Final = 0.15
# A cell is put across the field's border only so far that this share of it remains.
_LEAST_VISIBLE: Final = 0.5
# Cells that touch lie under their neighbour by up to this share of their diameter.
_UNDER: Final = 0.1
_TRIES: Final = 300
_DIRECTIONS: Final = 15
# Optical density over the plasma from which on something is an object; the plasma's own grain stays below.
_OBJECT_DENSITY: Final = 0.12


class Placement(StrEnum):
    """How a cell is placed in a composed field."""

    APART = "apart"
    TOUCHING = "touching"
    BORDER = "cut by the border"


@dataclass(frozen=True, eq=False)
class MadeField:
    """A composed field and its truth: `rgb` (H, W, 3), `labels` (H, W) without rings, `numbers` (H, W) uint16.

    `numbers` holds 1, 2, ... for the cells in the order of `standings`, 0 elsewhere.
    """

    rgb: NDArray[np.uint8]
    labels: LabelMap
    numbers: NDArray[np.uint16]
    standings: tuple[Placement, ...]


@dataclass(frozen=True, eq=False)
class Source:
    """A drawn cell to compose fields of: its image on the common background colour, label map, and whole other objects.

    `scenery` (H, W) float32 is 1 on red cells, platelets and fragments that neither the image's border nor the cell
    cuts, 0 elsewhere.
    """

    rgb: NDArray[np.uint8]
    labels: LabelMap
    scenery: NDArray[np.float32]

    @property
    def cell(self) -> NDArray[np.bool_]:
        """Nucleus and cytoplasm, bool (H, W)."""
        return cell_mask(self.labels)

    def turned(self, rng: np.random.Generator) -> "Source":
        """One of the eight rotations and reflections, which move no pixel off its grid."""
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

        def turn(array: NDArray[Any]) -> NDArray[Any]:
            turned = np.rot90(array, turns)
            return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

        return Source(turn(self.rgb), LabelMap(turn(self.labels)), turn(self.scenery))


def sources(items: Sequence[LabelledImage]) -> tuple[NDArray[np.float64], list[Source]]:
    """The common background colour of labelled images of one stain, and each as a source adjusted to it."""
    colours = [_plasma(item) for item in items]
    common = np.median(colours, axis=0)
    made = []
    for item, colour in zip(items, colours, strict=True):
        matched = np.clip((item.rgb + 1.0) * ((common + 1) / (colour + 1)) - 1, 0, 255).astype(np.uint8)
        made.append(Source(matched, item.labels, _scenery(item, colour)))
    return common, made


def _plasma(item: LabelledImage) -> NDArray[np.float64]:
    """Colour of the empty background: the median of the brighter half of what lies outside the cell."""
    outside = item.rgb[~cell_mask(item.labels)]
    brightness = outside.sum(axis=1)
    return np.asarray(np.median(outside[brightness >= np.median(brightness)], axis=0))


def _scenery(item: LabelledImage, plasma: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of the whole objects beside the cell, with soft edges; none where one of them is another leukocyte."""
    cell = cell_mask(item.labels)
    if count_other_nuclei(item.rgb, cell, region_mask(item.labels, "nucleus")):
        return np.zeros(cell.shape, np.float32)
    density = np.log((plasma + 1) / (item.rgb + 1.0)).max(axis=2)
    objects, _ = ndimage.label(ndimage.binary_fill_holes(ndimage.gaussian_filter(density, 1.0) > _OBJECT_DENSITY))
    near = ndimage.binary_dilation(cell, iterations=max(3, round(0.06 * math.sqrt(cell.sum()))))
    cut = np.unique(np.concatenate([objects[near], objects[0], objects[-1], objects[:, 0], objects[:, -1]]))
    whole = ndimage.binary_dilation(~np.isin(objects, [0, *cut]), iterations=2)
    return np.asarray(ndimage.gaussian_filter(whole.astype(np.float32), 1.0))


def make_field(
    items: Sequence[LabelledImage], side: int, cells: int, rng: np.random.Generator, *, touching: float = 0.5
) -> MadeField:
    """Paste drawn cells onto red cells and background of the same images.

    Parameters
    ----------
    items
        Images of one stain and scale with their label maps; each may give its cell several times, rotated and mirrored.
    side
        Height and width of the field in pixels.
    cells
        How many cells are wanted; a crowded field may have room for fewer.
    rng
        Decides everything: the same state gives the same field.
    touching
        Share of the cells that are set against another one, without a gap, and up to a tenth of their diameter under
        it.
    """
    plasma, given = sources(items)
    canvas = _Canvas(side, plasma)
    reach = min(min(item.labels.shape) for item in items)
    for top in range(-reach, side, reach // 4):
        for left in range(-reach, side, reach // 4):
            source = given[rng.integers(len(given))].turned(rng)
            canvas.blend(source, source.scenery, top, left)
    while len(canvas.standings) < cells and canvas.place_apart(given[rng.integers(len(given))].turned(rng), rng):
        if rng.random() < touching / (2 - touching) and len(canvas.standings) < cells:
            canvas.place_against(len(canvas.standings), given[rng.integers(len(given))].turned(rng), rng)
    return MadeField(canvas.rgb, LabelMap(canvas.labels), canvas.numbers, tuple(canvas.standings))


class _Canvas:
    """A field under construction."""

    def __init__(self, side: int, plasma: NDArray[np.float64]) -> None:
        self.rgb = np.broadcast_to(plasma, (side, side, 3)).astype(np.uint8)
        self.labels = np.zeros((side, side), np.uint8)
        self.numbers = np.zeros((side, side), np.uint16)
        self.standings: list[Placement] = []

    def place_apart(self, source: Source, rng: np.random.Generator) -> bool:
        """Set a cell where it keeps its distance from all others; False where there is no room."""
        cell = source.cell
        distance = round(_APART * 2 * math.sqrt(cell.sum() / np.pi))
        wide = ndimage.binary_dilation(np.pad(cell, distance), iterations=distance)
        own = ndimage.center_of_mass(cell)
        for _ in range(_TRIES):
            top, left = (
                round(at - middle) for at, middle in zip(rng.uniform(0, self.numbers.shape[0], 2), own, strict=True)
            )
            if self._visible(cell, top, left) >= _LEAST_VISIBLE and not self._met(
                wide, top - distance, left - distance
            ):
                self._place(source, top, left, Placement.APART)
                return True
        return False

    def place_against(self, number: int, source: Source, rng: np.random.Generator) -> bool:
        """Slide a cell against that cell, up to a tenth of its diameter under it; False where others are in the way."""
        cell, target = source.cell, self.numbers == number
        middle, own = ndimage.center_of_mass(target), ndimage.center_of_mass(cell)
        afar = round(2 * (math.sqrt(target.sum()) + math.sqrt(cell.sum())))
        under = round(rng.uniform(0, _UNDER) * 2 * math.sqrt(cell.sum() / np.pi))
        for angle in rng.uniform(0, 2 * np.pi, _DIRECTIONS):
            direction = np.array([math.sin(angle), math.cos(angle)])
            places = [
                np.round(middle + direction * distance - own).astype(int).tolist() for distance in range(afar, 0, -1)
            ]
            stop = next(
                step
                for step, (top, left) in enumerate([*places, (0, 0)])
                if step == len(places) or self._met(cell, top, left)
            )
            if not 0 < stop < len(places) - under:
                continue
            top, left = places[stop - 1 + under]
            met = self._met(ndimage.binary_dilation(np.pad(cell, 2), iterations=2), top - 2, left - 2)
            if met == {number} and self._visible(cell, top, left) >= _LEAST_VISIBLE:
                self._place(source, top, left, Placement.TOUCHING)
                if self.standings[number - 1] is Placement.APART:
                    self.standings[number - 1] = Placement.TOUCHING
                return True
        return False

    def blend(self, source: Source, weight: NDArray[np.floating[Any]], top: int, left: int) -> None:
        """Lay an image onto the field with a weight for every pixel."""
        here, there = self._slices(source.labels.shape, top, left)
        alpha = weight[there][..., None]
        self.rgb[here] = np.rint(self.rgb[here] * (1 - alpha) + source.rgb[there] * alpha).astype(np.uint8)

    def _place(self, source: Source, top: int, left: int, standing: Placement) -> None:
        cell = source.cell
        here, there = self._slices(cell.shape, top, left)
        soft = ndimage.gaussian_filter(ndimage.binary_dilation(cell, iterations=2).astype(np.float32), 1.0)
        free = self.numbers[here] == 0
        soft[there] *= free
        self.blend(source, soft, top, left)
        visible = cell[there] & free
        self.labels[here][visible] = source.labels[there][visible]
        self.standings.append(standing if self._visible(cell, top, left) == 1 else Placement.BORDER)
        self.numbers[here][visible] = len(self.standings)

    def _slices(self, shape: tuple[int, ...], top: int, left: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the visible part of an array at that place lies in the field, and in the array."""
        side = self.numbers.shape[0]

        def span(at: int, length: int) -> tuple[slice, slice]:
            start, stop = (min(max(0, edge), side) for edge in (at, at + length))
            return slice(start, stop), slice(start - at, stop - at)

        rows, columns = span(top, shape[0]), span(left, shape[1])
        return (rows[0], columns[0]), (rows[1], columns[1])

    def _visible(self, cell: NDArray[np.bool_], top: int, left: int) -> float:
        return float(cell[self._slices(cell.shape, top, left)[1]].sum() / cell.sum())

    def _met(self, mask: NDArray[np.bool_], top: int, left: int) -> set[int]:
        """Numbers of the cells under a mask."""
        here, there = self._slices(mask.shape, top, left)
        return set(np.unique(self.numbers[here][mask[there]]).tolist()) - {0}


@dataclass(frozen=True)
class CellScore:
    """A drawn cell of a field: its placement, and by region the Dice with the matched cell; None without a match."""

    standing: Placement
    dice: dict[str, float] | None


@dataclass(frozen=True)
class FieldScore:
    """A field: every drawn cell, and how many cells were found there, false ones included."""

    cells: tuple[CellScore, ...]
    n_found: int


def score_field(made: MadeField, predicted: Iterable[FieldCell]) -> FieldScore:
    """Match the cells found to those drawn."""
    areas = np.bincount(made.numbers.ravel(), minlength=len(made.standings) + 1)
    matches: dict[int, FieldCell] = {}
    count = 0
    for cell in predicted:
        count += 1
        here = np.s_[
            cell.place.top : cell.place.top + cell.place.height, cell.place.left : cell.place.left + cell.place.width
        ]
        own = cell_mask(cell.labels)
        shared = np.bincount(made.numbers[here][own], minlength=len(areas))
        shared[0] = 0
        best = int(shared.argmax())
        if shared[best] > MATCH_IOU * (own.sum() + areas[best] - shared[best]):
            matches[best] = cell
    scores = (
        CellScore(standing, _dice(made, number, matches[number]) if number in matches else None)
        for number, standing in enumerate(made.standings, start=1)
    )
    return FieldScore(tuple(scores), count)


def score_fields(
    segmenter: Segmenter,
    items: Sequence[LabelledImage],
    count: int,
    *,
    cells: int = 18,
    side: int | None = None,
    touching: float = 0.5,
    seed: int = 7,
    on_field: Callable[[int, MadeField, list[FieldCell]], None] | None = None,
) -> list[FieldScore]:
    """Compose `count` fields of the images and score the cells that the network finds in them.

    Each field depends on the seed and its own number only. `side` defaults to five times the longest side of the
    images. `on_field` is called with the number, from 0, the field and the cells found in it by
    `core.segmentation.field_of_view.find_cells`.
    """
    scores = []
    side = side or 5 * max(max(item.labels.shape) for item in items)
    for number in range(count):
        made = make_field(items, side, cells, np.random.default_rng((seed, number)), touching=touching)
        predicted = find_cells(made.rgb, segmenter)
        scores.append(score_field(made, predicted))
        if on_field:
            on_field(number, made, predicted)
    return scores


def _dice(made: MadeField, number: int, cell: FieldCell) -> dict[str, float]:
    drawn = LabelMap(np.where(made.numbers == number, made.labels, np.uint8(0)))
    predicted = np.zeros_like(drawn)
    predicted[
        cell.place.top : cell.place.top + cell.place.height, cell.place.left : cell.place.left + cell.place.width
    ] = cell.labels
    return {
        region: overlap(region_mask(LabelMap(predicted), region), region_mask(drawn, region)).dice for region in REGIONS
    }


def summarise_fields(scores: Sequence[FieldScore]) -> dict[str, Any]:
    """Recall, precision, mean absolute error of the count; by placement recall, mean Dice, share under 0.8.

    Dice is that of the matched cells.
    """
    cells = [cell for score in scores for cell in score.cells]
    matched, n_found = sum(cell.dice is not None for cell in cells), sum(score.n_found for score in scores)
    result: dict[str, Any] = {
        "fields": len(scores),
        "cells": len(cells),
        "found": n_found,
        "recall": round(matched / len(cells), 4),
        "precision": round(matched / n_found, 4) if n_found else None,
        "count_error": round(float(np.mean([abs(score.n_found - len(score.cells)) for score in scores])), 3),
    }
    for standing in Placement:
        group = [cell.dice for cell in cells if cell.standing is standing]
        dice = [one for one in group if one is not None]
        result[standing.value] = {
            "cells": len(group),
            "recall": round(len(dice) / len(group), 4) if group else None,
        } | {
            region: {
                "dice_mean": round(float(np.nanmean(values)), 4),
                "below_0.8": round(float(np.mean(np.array(values) < 0.8)), 4),
            }
            for region in REGIONS
            if (values := [one[region] for one in dice])
        }
    return result
