"""Populations around drawn cells.

One cell of a type measured on its true mask, its features spread as among real cells.

Drawing every member would take a minute; what is tested here needs their numbers only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.domain.cell_types import CellType
from core.domain.types import CellAnalysis, FeatureSet, QualityFlag, Segmentation
from core.evaluation.agreement import Disturbance, DisturbanceEffect, FeatureReliability, Grade
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.masks import outlines
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.populations.summaries import ReferencePopulation
from core.store import queries
from core.store.database import Cohort
from core.store.schema import OUTLINE_REGIONS, Population, cell_row
from core.store.shards import write_population

AREA, ELONGATION, RATIO = "nucleus_shape2D_PixelSurface", "nucleus_shape2D_Elongation", "combined_PixelSurface"

_SPREAD = 0.08  # relative, of the order of that among healthy cells

DRAWN = {
    "monocyte_drawn": (CellType.MONOCYTE, "monocyte", 24, 0.095),
    "monocyte_other": (CellType.MONOCYTE, "monocyte", 21, 0.095),
    "lymphocyte_drawn": (CellType.LYMPHOCYTE, "lymphocyte", 22, 0.095),
    "hcl_drawn": (CellType.HCL, "hairy_cell", 5, None),
}


def grades(given: Mapping[str, Grade], among: Iterable[str]) -> dict[str, FeatureReliability]:
    """What is known of some features with a model: the given grades, good for the others."""
    found = {}
    for name in among:
        grade = given.get(name, Grade.GOOD)
        icc = {Grade.GOOD: 0.95, Grade.MODERATE: 0.7, Grade.POOR: 0.2}[grade]
        moved = {
            Disturbance.WIDER: DisturbanceEffect(0.1, 0.3),
            Disturbance.JPEG_50: DisturbanceEffect(0.0, 0.1),
            Disturbance.PALER: DisturbanceEffect(0.5, 0.9),
        }
        found[name] = FeatureReliability(
            name,
            grade,
            "drawn so for a test",
            n=40,
            unpaired=1,
            log=False,
            icc=icc,
            icc_low=icc - 0.1,
            icc_high=icc + 0.04,
            bias=0.05,
            limit_low=-0.4,
            limit_high=0.5,
            disturbances=moved,
            largest=Disturbance.WIDER,
        )
    return found


GRADES = grades({AREA: Grade.POOR, ELONGATION: Grade.MODERATE}, among=CATALOGUE)


def analysed(drawing: str, seed: int, um_per_px: float | None = 0.095) -> CellAnalysis:
    """A drawn cell measured on its true mask."""
    image, labels = draw_cell(seed, SYNTHETIC_CELLS[drawing])
    segmentation = Segmentation(labels, 0.97, 0, "true-mask", "CPU", 1.0)
    features = extract(image.rgb, labels)
    return CellAnalysis(
        replace(image, um_per_px=um_per_px), segmentation, features, (), versions={"leukoscope": "test"}
    )


def write_drawn(root: Path) -> None:
    """Write the drawn populations below a folder; one monocyte is flagged and so left out of summaries."""
    rng = np.random.default_rng(7)
    for index, (name, (cell_type, drawing, count, scale)) in enumerate(DRAWN.items()):
        population = Population(
            name,
            cell_type,
            f"{drawing} {name[-5:]}",
            f"Laboratory {index}",
            "blood",
            "drawn",
            "free",
            f"Drawn, {drawing}.",
            "2026-01-01",
            scale,
        )
        drawn_cell = analysed(drawing, index, scale)
        drawn = {region: outlines(drawn_cell.segmentation.labels, region) for region in OUTLINE_REGIONS}
        rows = []
        for number in range(count):
            spread = {
                k: None if v is None else v * math.exp(rng.normal(0, _SPREAD))
                for k, v in drawn_cell.features.values.items()
            }
            sha256 = f"{index:02d}{number:04d}".ljust(64, "0")
            flags = (QualityFlag("border", "touches", severe=True),) if name == "monocyte_drawn" and number == 0 else ()
            image = replace(drawn_cell.image, name=f"{number}.png", sha256=sha256)
            analysis = replace(drawn_cell, image=image, features=FeatureSet(spread, {}), flags=flags)
            patient = f"p{number % 7}" if name == "monocyte_other" else None
            rows.append(
                cell_row(
                    analysis, population, outlines=drawn, patient_id=patient, created=datetime(2026, 1, 1, tzinfo=UTC)
                )
            )
        write_population(root, population, [rows])


def drawn_references(root: Path) -> tuple[ReferencePopulation, ...]:
    """The populations below a folder, ready for comparison."""
    with Cohort.open([root]) as cohort:
        return tuple(queries.reference(cohort, name) for name in DRAWN)
