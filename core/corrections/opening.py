"""A cell as it is opened for correction: its picture, the model's outline, and the row that was stored of it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.errors import StoreError
from core.domain.flags import flag_sentence
from core.domain.types import BoundingBox, CellAnalysis, CellImage, FeatureSet, LabelMap, QualityFlag, Segmentation
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.masks import cell_mask, filled_outlines, outlines, with_environment
from core.image.stain import measured_pixels, to_restain
from core.store.outline_log import CellKey
from core.store.schema import OUTLINE_REGIONS, CellRow, cell_row, decode_rings, place_of, stain_of

# Grey levels that the outlines hold together must be those that were stored, or the picture opens otherwise than then.
_TOLD_BY: Final = ("nucleus_firstorder_Mean", "cytoplasm_firstorder_Mean", "cell_firstorder_Variance")
_SAME: Final = 1e-6


@dataclass(frozen=True, eq=False)
class OpenCell:
    """A cell that a person may correct.

    Parameters
    ----------
    key
        Which cell it is.
    analysis
        The cell as the model outlined it, with its picture.
    row
        What is stored of it, or would be, with the model's outline.
    keep_out
        Pixels of other cells, (H, W); None where there are none.
    model_sha256
        Checksum of the model's file, where it is known.
    """

    key: CellKey
    analysis: CellAnalysis
    row: CellRow
    keep_out: NDArray[np.bool_] | None = None
    model_sha256: str | None = None


def open_analysed(
    analysis: CellAnalysis, keep_out: NDArray[np.bool_] | None = None, model_sha256: str | None = None
) -> OpenCell:
    """A cell that was analysed a moment ago and is stored nowhere."""
    return OpenCell(
        key_of(analysis), analysis, cell_row(analysis, None, outlines=rings_of(analysis)), keep_out, model_sha256
    )


def key_of(analysis: CellAnalysis) -> CellKey:
    """Which cell it is, where it is stored nowhere."""
    return CellKey(analysis.image.sha256, analysis.cell_index, analysis.image.shape, analysis.place)


def open_stored(row: CellRow, image: CellImage, others: Iterable[CellRow] = (), cell_id: str | None = None) -> OpenCell:
    """A cell of a table, with its picture, and the stain factors with which it was measured.

    Parameters
    ----------
    row
        The cell as the model drew it, with all columns of `core.store.schema.arrow_schema`.
    image
        The picture of what was analysed: the image, or the cut-out.
    others
        The other cells of the same image, whose pixels are kept out.
    cell_id
        Its id, where it is in the cohort.

    Raises
    ------
    StoreError
        If the picture does not show what was measured, or its stain factors are damaged.
    """
    image = to_restain(image, stain_of(row))
    analysis, keep_out = stored_analysis(row, image, others)
    _check_same(image, _labels(row, image.shape), analysis.features.values)
    key = CellKey(row["image_sha256"], analysis.cell_index, image.shape, analysis.place, cell_id)
    return OpenCell(key, analysis, row, keep_out)


def stored_analysis(
    row: CellRow, image: CellImage, others: Iterable[CellRow] = ()
) -> tuple[CellAnalysis, NDArray[np.bool_] | None]:
    """A cell of a table as it was analysed, and the pixels of the others: as `open_stored`, but nothing is compared.

    `image` need not be the picture: without one it may be blank paper of the same (H, W).
    """
    labels = _labels(row, image.shape)
    place = place_of(row)
    keep_out = _others(image.shape, place, others)
    severe = set(row["severe_flags"] if row["severe_flags"] is not None else ())
    codes = row["quality_flags"] if row["quality_flags"] is not None else ()
    analysis = CellAnalysis(
        image,
        Segmentation(
            with_environment(labels, keep_out),
            None if _missing(row["confidence"]) else float(row["confidence"]),
            0 if _missing(row["other_cells"]) else int(row["other_cells"]),
            row["model_id"] or "unknown",
            row["provider"] or "unknown",
            0.0,
        ),
        FeatureSet(
            {name: None if _missing(row.get(name)) else float(row[name]) for name in CATALOGUE},
            json.loads(row["absent"]) if row["absent"] else {},
        ),
        tuple(QualityFlag(code, flag_sentence(code), code in severe) for code in codes),
        int(row["cell_index"]),
        place,
        json.loads(row["versions"]) if row["versions"] else {},
        None if _missing(row["outline_quality"]) else float(row["outline_quality"]),
    )
    return analysis, keep_out


def rings_of(analysis: CellAnalysis) -> dict[str, list[NDArray[np.float32]]]:
    """The outlines of a cell as its row holds them."""
    return {region: outlines(analysis.segmentation.labels, region) for region in OUTLINE_REGIONS}


def keep_out_of(
    shape: tuple[int, int], place: BoundingBox, others: Iterable[tuple[BoundingBox, LabelMap]]
) -> NDArray[np.bool_] | None:
    """Pixels of other cells of a field in the cut-out of (H, W) at `place`; None where there are none."""
    taken = np.zeros(shape, np.bool_)
    for other, labels in others:
        left, top = max(place.left, other.left), max(place.top, other.top)
        right = min(place.left + place.width, other.left + other.width)
        bottom = min(place.top + place.height, other.top + other.height)
        if left < right and top < bottom:
            cell = cell_mask(labels)[top - other.top : bottom - other.top, left - other.left : right - other.left]
            taken[top - place.top : bottom - place.top, left - place.left : right - place.left] |= cell
    return taken if taken.any() else None


def _others(shape: tuple[int, int], place: BoundingBox | None, rows: Iterable[CellRow]) -> NDArray[np.bool_] | None:
    if place is None:
        return None
    placed = [(other, row) for row in rows if (other := place_of(row)) is not None and other != place]
    return keep_out_of(shape, place, [(other, _labels(row, (other.height, other.width))) for other, row in placed])


def _labels(row: Mapping[str, Any], shape: tuple[int, int]) -> LabelMap:
    cell, nucleus = (decode_rings(_arrays(row[f"{region}_outline"])) for region in ("cell", "nucleus"))
    return filled_outlines(shape, cell, nucleus)


def _arrays(rings: Any) -> list[NDArray[np.float32]] | None:  # noqa: ANN401 (lists of Arrow or of JSON)
    return None if rings is None else [np.asarray(ring, dtype=np.float32) for ring in rings]


def _missing(value: Any) -> bool:  # noqa: ANN401 (any value of a row)
    return value is None or bool(pd.isna(value))


def _check_same(image: CellImage, labels: LabelMap, stored: Mapping[str, float | None]) -> None:
    """Raise StoreError where the picture gives other grey levels than were stored, as one of another depth would."""
    if not cell_mask(labels).any():
        return
    now = extract(measured_pixels(image), labels).values
    for name in _TOLD_BY:
        before, after = stored[name], now[name]
        if before is not None and after is not None and not math.isclose(before, after, rel_tol=_SAME, abs_tol=_SAME):
            msg = (
                f"{image.name}: expected the picture that was measured, but its grey levels differ ({name}"
                f" {after:.6g}, stored {before:.6g}), as where its depth was given or an earlier version opened it;"
                " analyse the image again and correct that cell"
            )
            raise StoreError(msg)
