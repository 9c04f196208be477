import pytest

from core.charts.rows import REGION_WORDS, themes
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.features.spec import Region, Theme
from tests.populations import RATIO


def test_no_words_leave_everything_and_the_filters_divide_it():
    assert matching("", None, None) == list(CATALOGUE)
    assert sum(len(matching("", theme, region)) for theme in themes() for region in REGION_WORDS) == len(CATALOGUE)
    assert {CATALOGUE[name].theme for name in matching("", Theme.COLOUR, None)} == {Theme.COLOUR}


@pytest.mark.parametrize("words", ["N:C area", "combined_PixelSurface", "share NUCLEUS takes", "  n:c   ratio area "])
def test_a_feature_is_found_by_label_column_and_plain_words(words):
    assert RATIO in matching(words, None, None)


def test_every_word_must_be_there():
    found = matching("eosin cytoplasm", None, None)
    assert found
    assert all("eosin" in name and CATALOGUE[name].region is Region.CYTOPLASM for name in found)
    assert matching("eosin zebra", None, None) == []
