import pytest

from core.charts.rows import REGION_WORDS, themes
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.search import for_choosing, matching
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


def test_a_list_to_choose_from_begins_with_the_n_c_ratio_and_areas_and_says_each_size_once():
    listed = for_choosing(CATALOGUE)
    assert tuple(listed[: len(KEY_FEATURES)]) == KEY_FEATURES
    axis, diameter = "cell_shape2D_MajorAxisLength", "cell_shape2D_MaximumDiameter"
    assert {"nucleus_shape2D_MeshSurface", axis} < set(CATALOGUE) - set(listed)
    assert len(listed) == len(set(listed)) == len(CATALOGUE) - 4
    assert axis in for_choosing(CATALOGUE, keep=axis)
    assert for_choosing([axis, RATIO]) == [RATIO, axis], "it stays where nothing says the same"
    assert for_choosing([axis, diameter]) == [diameter]
