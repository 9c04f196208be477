"""Cells to hand over that are awkward: a field, a nucleus with a hole, parts, hostile names, absent values."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.types import BoundingBox, CellAnalysis, FeatureSet, LabelMap, QualityFlag, Segmentation
from core.domain.versions import MODEL_FILE
from core.exchange.cells import Handover
from core.features.extract import extract
from core.image.masks import outlines, with_environment
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store.schema import OUTLINE_REGIONS, cell_row

AREA, RATIO = "cell_shape2D_PixelSurface", "combined_PixelSurface"
NEVER = "nucleus_firstorder_Kurtosis"
HOSTILE = '=HYPERLINK("x")'
FIELD, HOLED, TWIN, NESTED = "field.png", "a <b>/005.png", "a <b>/005.jpg", "con/05.tar.png"
SHA = {name: f"{number}".ljust(64, "0") for number, name in enumerate((FIELD, HOLED, TWIN, NESTED), start=1)}
SHAPES = {FIELD: (500, 700), HOLED: (360, 360), TWIN: (360, 360), NESTED: (360, 360)}


def drawn(seed, drawing="monocyte", *, hole=False, apart=False):
    image, labels = draw_cell(seed, SYNTHETIC_CELLS[drawing])
    labels = np.where(labels >= Compartment.CYTOPLASM, labels, 0).astype(np.uint8)
    rows, columns = np.nonzero(labels == Compartment.NUCLEUS)
    if hole:  # in the nucleus, and in the cell a pixel
        row, column = int(rows.mean()), int(columns.mean())
        labels[row - 4 : row + 5, column - 3 : column + 6] = Compartment.CYTOPLASM
        labels[row, column] = 0
    if apart:  # a part of the cell that touches it by a corner only, and one far away
        labels[20:26, 30:36] = Compartment.CYTOPLASM
        labels[26:31, 36:41] = Compartment.CYTOPLASM
    return image, LabelMap(labels)


def analysis(name, index, image, labels, place=None, scale=0.1, flags=(), without=()):
    features = extract(image.rgb, with_environment(labels))
    values = {key: None if key in without else value for key, value in features.values.items()}
    return CellAnalysis(
        replace(image, name=name, sha256=SHA[name], um_per_px=scale, field_shape=SHAPES[name] if place else None),
        Segmentation(with_environment(labels), 0.9, 0, "model-x", "CPU", 1.0),
        FeatureSet(values, features.absent | dict.fromkeys(without, "taken out")),
        flags,
        index,
        place,
        {MODEL_FILE: "ab" * 32, "leukoscope": "test"},
        0.87,
    )


def pictures():
    """Each cell with the labels of its whole image, (H, W), in which it alone is drawn."""
    flagged = (QualityFlag("border", "touches", severe=True),)
    wanted = (
        (FIELD, 0, drawn(1), (10, 20), CellType.MONOCYTE, ()),
        (FIELD, 1, drawn(2, "lymphocyte", hole=True), (340, 140), CellType.LYMPHOCYTE, flagged),
        (HOLED, 0, drawn(3, hole=True), None, CellType.MONOCYTE, ()),
        (TWIN, 0, drawn(4, apart=True), None, None, ()),
        (NESTED, 0, drawn(5, "hairy_cell"), None, CellType.HCL, ()),
    )
    for name, index, (image, labels), at, kind, flags in wanted:
        whole = labels
        place = None
        if at is not None:
            place = BoundingBox(at[0], at[1], labels.shape[1], labels.shape[0])
            whole = np.zeros(SHAPES[name], np.uint8)
            whole[place.top : place.top + place.height, place.left : place.left + place.width] = labels
        without = (NEVER, RATIO) if name == TWIN else (NEVER,)
        yield analysis(name, index, image, labels, place, 0.1, flags, without), kind, whole


def rows():
    when = datetime(2026, 1, 1, tzinfo=UTC)
    for one, kind, _ in _PICTURES:
        rings = {region: outlines(one.segmentation.labels, region) for region in OUTLINE_REGIONS}
        yield cell_row(one, None, outlines=rings, cell_type=kind, patient_id=HOSTILE, created=when)


def truth():
    """By image and number of the cell its labels in the whole image."""
    return {(one.image.name, one.cell_index + 1): whole for one, _, whole in _PICTURES}


_PICTURES = tuple(pictures())
ROWS = tuple(rows())


def handover(changed=lambda row: row):
    return Handover("A run", {"source": "a test", "settings": HOSTILE}, lambda: [changed(dict(row)) for row in ROWS])
