from statistics import mean, median

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.options import CellChoice
from core.evaluation.datasets import data_set
from core.features.contour import contour
from core.features.definitions.structure import COMBINED, STRUCTURES
from core.features.extract import extract
from core.features.lobes import lobes
from core.features.position import position
from core.features.projections import projections
from core.features.spec import FeatureClass, Region, Unit
from core.features.spots import granularity, vacuoles
from core.image.imaging import load
from core.pipeline import outline_cells
from tests.shapes import disc

NUCLEUS, CELL, AROUND = (disc(60, 60, radius, side=120) for radius in (25, 45, 54))
ZONES = NUCLEUS, CELL & ~NUCLEUS, AROUND & ~CELL, CELL / 2
MEASURED = {
    FeatureClass.CONTOUR: contour(NUCLEUS),
    FeatureClass.LOBES: lobes(NUCLEUS),
    FeatureClass.PROJECTIONS: projections(*ZONES),
    FeatureClass.VACUOLES: vacuoles(*ZONES),
    FeatureClass.GRANULARITY: granularity(NUCLEUS, CELL, np.ones(CELL.shape)),
}
ROWS = [row for _, rows in STRUCTURES.values() for row in rows] + list(COMBINED)


def test_every_row_is_measured_and_every_measure_has_a_row():
    assert {feature_class: [row.feature for row in rows] for feature_class, (_, rows) in STRUCTURES.items()} == {
        feature_class: list(values) for feature_class, values in MEASURED.items()
    }
    assert [row.feature for row in COMBINED] == list(position(NUCLEUS, CELL))


def test_every_row_says_what_it_means_in_one_line():
    for row in ROWS:
        text = row.description.format(region="nucleus")
        assert "nucleus" in text
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) <= 140


def test_the_short_names_of_a_region_differ():
    for region in Region:
        shorts = [row.short for regions, rows in STRUCTURES.values() if region in regions for row in rows]
        assert len(set(shorts)) == len(shorts)


def test_all_are_ratios_or_counts_and_only_the_finest_grain_depends_on_the_pixel():
    assert {row.unit for row in ROWS} == {Unit.NONE}
    assert [row.short for row in ROWS if row.pixel_bound] == ["Granularity, fine"]
    assert [row.feature for row in ROWS if row.log_axis] == ["LowHarmonics", "HighHarmonics"]


@pytest.fixture(scope="module")
def populations(data_dir, segmenter) -> dict[str, list[dict[str, float | None]]]:
    """Features of eight cells of each of three types from healthy donors, and of the hairy cells of a smear."""
    samples = data_set("acevedo").samples()
    images = {}
    for cell_type in (CellType.LYMPHOCYTE, CellType.MONOCYTE, CellType.PROMYELOCYTE):
        of_type = [sample.image for sample in samples if sample.cell_type is cell_type]
        images[cell_type] = [load(path) for path in of_type[:: len(of_type) // 8][:8]]
    outlined = {
        cell_type: [cell for image in found for cell in outline_cells(image, segmenter, CellChoice.ONE)]
        for cell_type, found in images.items()
    }
    smears = [load(sample.image) for sample in data_set("hairy_cell_smear").samples()]
    outlined[CellType.HCL] = [cell for smear in smears for cell in outline_cells(smear, segmenter, CellChoice.ALL)]
    return {
        cell_type: [extract(cell.image.rgb, cell.segmentation.labels).values for cell in found]
        for cell_type, found in outlined.items()
    }


def of(populations, cell_type, name):
    return [value for values in populations[cell_type] if (value := values[name]) is not None]


@pytest.mark.data
def test_hairy_cells_have_more_and_higher_projections_than_lymphocytes(populations):
    hairy, lymphocyte = (
        of(populations, cell_type, "cell_projections_Count") for cell_type in (CellType.HCL, CellType.LYMPHOCYTE)
    )
    assert len(hairy) == 5
    assert median(hairy) >= 3 > 1 >= median(lymphocyte)
    hairy, lymphocyte = (
        of(populations, cell_type, "cell_projections_MaximumHeight")
        for cell_type in (CellType.HCL, CellType.LYMPHOCYTE)
    )
    assert median(hairy) > 1.5 * median(lymphocyte)


@pytest.mark.data
def test_monocytes_have_dented_nuclei_and_vacuoles(populations):
    for name, average in [("nucleus_contour_IndentationDepth", median), ("cytoplasm_vacuoles_Count", mean)]:
        monocyte, lymphocyte = (
            average(of(populations, cell_type, name)) for cell_type in (CellType.MONOCYTE, CellType.LYMPHOCYTE)
        )
        assert monocyte > 1.5 * lymphocyte


@pytest.mark.data
def test_the_cytoplasm_of_promyelocytes_is_granular(populations):
    name = "cytoplasm_granularity_Fine"
    granular, plain = (
        median(of(populations, cell_type, name)) for cell_type in (CellType.PROMYELOCYTE, CellType.LYMPHOCYTE)
    )
    assert granular > 1.3 * plain
