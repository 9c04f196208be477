from collections import Counter
from itertools import islice

import numpy as np
import pytest

from core.evaluation import ood_negatives as module
from core.evaluation.ood_negatives import NegativeKind, evenly, ood_negatives
from core.image.stain import nuclear_density


@pytest.fixture(scope="module")
def everything(data_dir):
    return list(ood_negatives())


def test_evenly_takes_the_ends_and_what_lies_between():
    assert evenly(range(11), 3) == [0, 5, 10]
    assert evenly([1, 2], 5) == [1, 2]


@pytest.mark.parametrize(
    "make", [module._crops, module._blots, module._noise, module._blanks], ids=lambda make: make.__name__
)
def test_drawn_and_borrowed_pictures_are_the_same_each_time(make):
    first, again = (list(islice(make(), 12)) for _ in range(2))
    assert all(np.array_equal(a.image.rgb, b.image.rgb) for a, b in zip(first, again, strict=True))
    assert len({a.image.rgb.tobytes() for a in first}) == len(first)
    assert len({a.image.name for a in first}) == len(first)


def test_no_picture_needs_a_download():
    found = Counter(negative.source for negative in module._crops())
    assert {name for _, name, _ in module._PICTURES} == set(found)


@pytest.mark.data
def test_there_are_pictures_of_every_kind(everything):
    found = Counter(negative.kind for negative in everything)
    assert set(found) == set(NegativeKind)
    assert min(found.values()) >= 10
    both = Counter((negative.kind, negative.source) for negative in everything)
    for kind in (NegativeKind.RED_CELLS, NegativeKind.EMPTY, NegativeKind.SPECK, NegativeKind.SMEARED):
        assert all(both[kind, source] >= 10 for source in module.SMEARS), kind


@pytest.mark.data
def test_places_without_a_leukocyte_hold_no_nucleus(everything):
    # A nucleus rises by 2 over its surroundings.
    most = {NegativeKind.RED_CELLS: 1.6, NegativeKind.EMPTY: 0.5}
    for negative in everything:
        if negative.kind in most:
            assert np.ptp(nuclear_density(negative.image.rgb)) < most[negative.kind], negative.image.name
