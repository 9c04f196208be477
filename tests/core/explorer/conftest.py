"""A small cohort of two laboratories, with everything that a selection can ask for, and the shipped one."""

from pathlib import Path

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.settings import ROOT
from core.domain.types import QualityFlag
from core.store.database import Cohort
from core.store.schema import CellRow, Population, cell_row
from core.store.shards import write_population
from tests.core.store.conftest import AREA, RATIO, WHEN, make_analysis, make_population

MONO, LYMPHO, OTHER_SCALE, UNSCALED = "mono", "lympho", "mono_other", "hcl"
BORDER = QualityFlag("border", "touches", severe=True)
BLURRED = QualityFlag("blurred", "out of focus", severe=True)


def spread_rows(
    population: Population, count: int, rng: np.random.Generator, *, patients: int = 0, diagnosis: str | None = None
) -> list[CellRow]:
    """Cells with a lognormal area and ratio; the third has no area, the first is flagged once and the second twice."""
    rows = []
    for index in range(count):
        area = None if index == 2 else float(1000 * rng.lognormal(0, 0.2))
        analysis = make_analysis(
            index,
            values={AREA: area, RATIO: float(rng.lognormal(-0.5, 0.3))},
            absent={} if area is not None else {AREA: "no nucleus"},
            flags={0: (BORDER,), 1: (BORDER, BLURRED)}.get(index, ()),
        )
        patient = f"p{index % patients}" if patients else None
        rows.append(cell_row(analysis, population, outlines={}, patient_id=patient, diagnosis=diagnosis, created=WHEN))
    return rows


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Cohort:
    """Two populations of one source, one of another source and scale with patients, five cells without a scale."""
    root: Path = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(3)
    populations = {
        MONO: (make_population(MONO, um_per_px=0.1, source="A"), {"count": 60}),
        LYMPHO: (make_population(LYMPHO, cell_type=CellType.LYMPHOCYTE, um_per_px=0.1, source="A"), {"count": 40}),
        OTHER_SCALE: (
            make_population(OTHER_SCALE, um_per_px=0.2, source="B"),
            {"count": 30, "patients": 4, "diagnosis": "AML"},
        ),
        UNSCALED: (make_population(UNSCALED, cell_type=CellType.HCL, source="B"), {"count": 5, "patients": 1}),
    }
    for population, how in populations.values():
        write_population(root, population, [spread_rows(population, rng=rng, **how)])
    with Cohort.open([root]) as cohort:
        yield cohort


@pytest.fixture(scope="module")
def shipped() -> Cohort:
    with Cohort.open([ROOT / "assets" / "reference"]) as cohort:
        yield cohort


@pytest.fixture
def nothing(tmp_path) -> Cohort:
    with Cohort.open([tmp_path]) as cohort:
        yield cohort
