"""What is answered, as dataclasses: the answers are made of them, and the OpenAPI document is written from them.

Fields are called as the columns of tables are (`core.store.schema`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from core.domain.options import CellChoice
from core.domain.types import CellAnalysis, CellImage
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.image.masks import outlines
from core.populations.placement import models_beside, place_cell
from core.populations.summaries import Basis, ReferencePopulation
from core.segmentation.model_registry import ModelEntry

# A ring of x, y in pixels of the whole image, first point repeated last; several rings are filled by even-odd.
Ring: TypeAlias = list[tuple[float, float]]


class FeatureChoice(StrEnum):
    """Which features are answered: those that a morphologist looks for first, or every one of the catalogue."""

    KEY = "key"
    ALL = "all"


@dataclass(frozen=True)
class AnalyseQuery:
    """What is asked of an image, in the address after the question mark."""

    name: Annotated[str, "what the image is called in notes; the name of a file in a form comes first"] = "image"
    cells: Annotated[CellChoice, "one: the cell in the middle; all: every leukocyte; auto: what the image shows"] = (
        CellChoice.AUTO
    )
    um_per_px: Annotated[float | Literal["file"] | None, "micrometres per pixel, or `file`: what it states"] = None
    um_per_px_error: Annotated[float | None, "share by which the true scale may be larger or smaller"] = None
    features: Annotated[FeatureChoice, "key: what a morphologist looks for first; all: the catalogue"] = (
        FeatureChoice.KEY
    )
    places: Annotated[bool, "whether to say where the cells stand in the populations"] = True


@dataclass(frozen=True)
class ServedPlace:
    """Where one feature of a cell stands in one population."""

    population: str
    feature: str
    value: float | None
    basis: Annotated[Basis, "what the value is counted in: px, um, or 1 for neither"]
    percentile: Annotated[float | None, "0 to 100; null for published tables and small groups"]
    robust_z: float | None
    inside: Annotated[bool | None, "whether it lies in the 2-98 % band"]


@dataclass(frozen=True)
class ServedCell:
    """One cell: where it is, how it is outlined, what was measured, and what to know before trusting it."""

    cell_index: Annotated[int, "number of the cell in its image, from 0"]
    centre_x: Annotated[float | None, "centre of gravity, pixels from the left edge of the image; null without a cell"]
    centre_y: float | None
    box_left: Annotated[int | None, "bounding box in the image, pixels; null without a cell"]
    box_top: int | None
    box_width: int | None
    box_height: int | None
    nucleus_outline: Annotated[list[Ring], "rings of x, y in pixels of the image from its upper left corner, even-odd"]
    cell_outline: list[Ring]
    confidence: Annotated[float | None, "Dice the network itself expects, 0 to 1"]
    outline_quality: Annotated[float | None, "Dice that a careful drawing would probably reach; null if not judged"]
    other_cells: Annotated[int, "further leukocytes in the image, kept apart"]
    features: Annotated[dict[str, float | None], "values by the catalogue's names; null where absent"]
    absent: Annotated[dict[str, str], "absent feature to reason"]
    quality_ok: Annotated[bool, "no severe flag: the cell may enter summaries"]
    quality_flags: list[str]
    severe_flags: list[str]
    flag_messages: Annotated[dict[str, str], "flag to sentence"]
    places: Annotated[list[ServedPlace], "only of features that can be compared"]
    model_note: Annotated[str | None, "said where another model outlined the populations"]


@dataclass(frozen=True)
class ServedImage:
    """What became of an image."""

    name: str
    image_sha256: Annotated[str, "of the bytes that came"]
    image_width: int
    image_height: int
    um_per_px: Annotated[float | None, "null if unknown; then lengths and areas are in pixels"]
    um_per_px_error: float | None
    um_per_px_source: str | None
    units: Annotated[dict[str, str], "feature to unit"]
    notes: Annotated[list[str], "what opening the image did, in words"]
    model_id: str
    model_sha256: str
    versions: Annotated[dict[str, str], "software to version"]
    cells: list[ServedCell]


@dataclass(frozen=True)
class ServedModel:
    """The model that outlines, and the populations that cells are compared with."""

    model_id: str
    sha256: str
    created: str
    architecture: str
    intended_use: str
    limits: str
    licence: str
    not_sealed: Annotated[list[str], "what lies beside the model without a checksum"]
    populations: list[str]
    versions: dict[str, str]


@dataclass(frozen=True)
class ServiceHealth:
    """That the service answers, and how much it has to do."""

    status: Literal["ok"]
    requests: Annotated[int, "images under way"]
    most: Annotated[int, "images at once; beyond, 503 is answered"]


@dataclass(frozen=True)
class ServiceProblem:
    """What was wrong: a word for programs, and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class ProblemAnswer:
    """Every answer that is none of the others."""

    error: ServiceProblem


def image_answer(
    image: CellImage,
    analyses: Sequence[CellAnalysis],
    query: AnalyseQuery,
    model: ModelEntry,
    populations: Iterable[ReferencePopulation],
) -> ServedImage:
    """The answer for an image and the analyses of its cells."""
    features = tuple(CATALOGUE) if query.features is FeatureChoice.ALL else KEY_FEATURES
    compared = list(populations) if query.places else []
    height, width = image.whole_shape
    notes = dict.fromkeys(note for one in (image, *(a.image for a in analyses)) for note in one.notes)
    return ServedImage(
        name=image.name,
        image_sha256=image.sha256,
        image_width=width,
        image_height=height,
        um_per_px=image.um_per_px,
        um_per_px_error=image.um_per_px_error,
        um_per_px_source=image.um_per_px_source,
        units={name: _unit(name, image.um_per_px) for name in features},
        notes=list(notes),
        model_id=model.model_id,
        model_sha256=model.sha256,
        versions=dict(analyses[0].versions) if analyses else {},
        cells=[_cell(analysis, features, compared) for analysis in analyses],
    )


def _unit(name: str, um_per_px: float | None) -> str:
    unit = CATALOGUE[name].unit
    return unit.px if um_per_px is None else unit.um


def _cell(analysis: CellAnalysis, features: Sequence[str], populations: Sequence[ReferencePopulation]) -> ServedCell:
    centre, box, scale = analysis.centre, analysis.box, analysis.image.um_per_px
    measured = analysis.features
    return ServedCell(
        cell_index=analysis.cell_index,
        centre_x=centre[0] if centre else None,
        centre_y=centre[1] if centre else None,
        box_left=box.left if box else None,
        box_top=box.top if box else None,
        box_width=box.width if box else None,
        box_height=box.height if box else None,
        nucleus_outline=_rings(analysis, "nucleus"),
        cell_outline=_rings(analysis, "cell"),
        confidence=analysis.segmentation.confidence,
        outline_quality=analysis.outline_quality,
        other_cells=analysis.segmentation.other_cells,
        features={
            name: value if value is None or scale is None else CATALOGUE[name].in_um(value, scale)
            for name in features
            for value in [measured.values[name]]
        },
        absent={name: reason for name, reason in measured.absent.items() if name in features},
        quality_ok=analysis.quality_ok,
        quality_flags=[flag.code for flag in analysis.flags],
        severe_flags=[flag.code for flag in analysis.flags if flag.severe],
        flag_messages={flag.code: flag.message for flag in analysis.flags},
        places=_places(analysis, features, populations),
        model_note=models_beside(analysis, populations),
    )


def _rings(analysis: CellAnalysis, region: str) -> list[Ring]:
    """The outlines of a region on the whole image."""
    left, top = (analysis.place.left, analysis.place.top) if analysis.place else (0, 0)
    rings = outlines(analysis.segmentation.labels, region)
    return [[(x + left, y + top) for x, y in ring.tolist()] for ring in rings]


def _places(
    analysis: CellAnalysis, features: Sequence[str], populations: Sequence[ReferencePopulation]
) -> list[ServedPlace]:
    return [
        ServedPlace(
            found.population,
            found.feature,
            found.value,
            found.basis,
            found.percentile,
            found.robust_z,
            None if found.inside is None else bool(found.inside),
        )
        for placed in place_cell(analysis, populations)
        for found in map(placed.of, features)
        if found.comparable
    ]
