"""Cells and populations for the tests of the store: real analyses of drawn values, no image needed beyond its size."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.domain.cell_types import CellType
from core.domain.types import BoundingBox, CellAnalysis, CellImage, FeatureSet, QualityFlag, Segmentation, as_label_map
from core.features.catalogue import CATALOGUE
from core.store.schema import CellRow, Population, cell_row

AREA = "nucleus_shape2D_PixelSurface"
RATIO = "combined_PixelSurface"
WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def make_population(population_id: str = "mono", **changes: object) -> Population:
    fields: dict[str, object] = {
        "population_id": population_id,
        "cell_type": CellType.MONOCYTE,
        "title": "Monocytes of a test",
        "source": "test laboratory",
        "tissue": "blood",
        "citation": "none",
        "terms": "CC0",
        "note": "",
        "created": "2026-11-01",
    }
    return Population(**{**fields, **changes})  # type: ignore[arg-type]


def plausible(area: float) -> dict[str, float]:
    """A value of each feature, as a cell may have them whose nucleus has that area and is half of it."""
    values = dict.fromkeys(CATALOGUE, 1.0)
    for region, of_region in (("nucleus", area), ("cytoplasm", area), ("cell", 2 * area)):
        for name, value in (
            ("PixelSurface", of_region),
            ("MeshSurface", of_region),
            ("MaximumDiameter", 1.3 * of_region**0.5),
            ("MajorAxisLength", 1.3 * of_region**0.5),
            ("MinorAxisLength", 1.2 * of_region**0.5),
            ("Perimeter", 4 * of_region**0.5),
        ):
            values[f"{region}_shape2D_{name}"] = value
    hues = {name: 300.0 for name in CATALOGUE if "_hue_" in name and CATALOGUE[name].unit.px == "°"}
    return {**values, **hues, RATIO: 0.5}


def make_analysis(
    index: int = 0,
    *,
    values: dict[str, float | None] | None = None,
    absent: dict[str, str] | None = None,
    flags: tuple[QualityFlag, ...] = (),
    um_per_px: float | None = None,
    name: str | None = None,
    place: BoundingBox | None = None,
) -> CellAnalysis:
    """Cell number `index` of a series; every feature is 1 unless `values` says otherwise."""
    image = CellImage(
        np.zeros((20, 30, 3), np.uint8),
        name or f"cells/{index:05d}.png",
        hashlib.sha256(b"%d" % index).hexdigest(),
        um_per_px,
    )
    segmentation = Segmentation(
        as_label_map(np.zeros((20, 30), np.uint8)), 0.9, 1, "model-1", "CPUExecutionProvider", 12.0
    )
    features = FeatureSet({**dict.fromkeys(CATALOGUE, 1.0), **(values or {})}, absent or {})
    return CellAnalysis(image, segmentation, features, flags, place=place, versions={"leukoscope": "0.1.0"})


def make_rows(
    population: Population,
    areas: list[float | None],
    *,
    start: int = 0,
    patient: str | None = None,
    flags: tuple[QualityFlag, ...] = (),
) -> list[CellRow]:
    """One plausible row per nuclear area; a None is an absent value with a reason."""
    return [
        cell_row(
            make_analysis(
                start + i,
                values={**plausible(abs(area or 1.0)), AREA: area},
                absent={} if area is not None else {AREA: "no nucleus"},
                flags=flags,
            ),
            population,
            outlines={},
            patient_id=patient,
            created=WHEN,
        )
        for i, area in enumerate(areas)
    ]


def overwrite(shard: Path, column: str) -> None:
    """Damage the values of one column; the file's description and all other columns stay readable."""
    content, group = shard.read_bytes(), pq.read_metadata(shard).row_group(0)
    found = next(each for i in range(group.num_columns) if (each := group.column(i)).path_in_schema == column)
    start, size = found.data_page_offset, found.total_compressed_size
    shard.write_bytes(content[:start] + b"\xff" * size + content[start + size :])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's root; the reference root is another, empty folder."""
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path / "reference"))
    folder = tmp_path / "cohort"
    folder.mkdir()
    return folder
