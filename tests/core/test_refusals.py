"""What is no leukocyte, shown to the shipped model with what it knows.

A severe flag says that it must not be answered.
"""

import pytest

from core.domain.flags import UNLIKE_LEUKOCYTE
from core.evaluation.datasets import data_set
from core.evaluation.ood_negatives import NegativeKind, evenly, ood_negatives, other_pictures
from core.image.imaging import load
from core.pipeline import analyse


def refused(image, segmenter):
    return not analyse(image, segmenter).quality_ok


@pytest.fixture(scope="module")
def pictures():
    return list(other_pictures())


@pytest.fixture(scope="module")
def smears(data_dir):
    return list(ood_negatives())


def of_kind(items, kind, count):
    found = [item.image for item in items if item.kind is kind]
    assert len(found) >= count
    return evenly(found, count)


@pytest.mark.parametrize(
    "kind",
    [
        NegativeKind.PHOTOGRAPH,
        NegativeKind.TISSUE,
        NegativeKind.TEXT,
        NegativeKind.DRAWING,
        NegativeKind.NOISE,
        NegativeKind.BLANK,
    ],
)
def test_pictures_of_other_things_are_refused(pictures, segmenter, kind):
    assert sum(refused(image, segmenter) for image in of_kind(pictures, kind, 6)) >= 5


@pytest.mark.data
@pytest.mark.parametrize(
    ("kind", "least"),
    [
        (NegativeKind.RED_CELLS, 8),
        (NegativeKind.EMPTY, 8),
        (NegativeKind.MASK, 8),
        (NegativeKind.SPECK, 4),
        (NegativeKind.PLATELET, 3),
    ],
)
def test_of_eight_pictures_without_a_leukocyte_so_many_are_refused(smears, segmenter, kind, least):
    assert sum(refused(image, segmenter) for image in of_kind(smears, kind, 8)) >= least


@pytest.mark.data
def test_leukocytes_are_hardly_ever_unlike_what_the_model_knows(data_dir, segmenter):
    assert segmenter.knowledge is not None
    told = []
    for name in ("acevedo", "deepapl"):
        samples = [
            sample for sample in data_set(name).samples(data_dir) if sample.cell_type in ("lymphocyte", "monocyte")
        ]
        told += [{flag.code for flag in analyse(load(sample.image), segmenter).flags} for sample in evenly(samples, 8)]
    assert sum(UNLIKE_LEUKOCYTE in codes for codes in told) <= 1
    assert sum("granulocyte" in codes for codes in told) <= 1


@pytest.mark.data
def test_many_neutrophils_are_told_to_be_no_mononuclear_cells(data_dir, segmenter):
    samples = [sample for sample in data_set("acevedo").samples(data_dir) if sample.cell_type == "neutrophil"]
    told = [
        "granulocyte" in {flag.code for flag in analyse(load(sample.image), segmenter).flags}
        for sample in evenly(samples, 10)
    ]
    assert sum(told) >= 4
