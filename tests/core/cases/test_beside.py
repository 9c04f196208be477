import re
from dataclasses import replace

import pytest

from core.cases.beside import side_by_side
from core.domain.types import GivenScale
from core.features.catalogue import KEY_FEATURES
from core.pipeline import at_scale
from tests.populations import analysed

AREA, RATIO = "cell_shape2D_PixelSurface", "combined_PixelSurface"


@pytest.fixture(scope="module")
def other():
    return analysed("monocyte", 4)


def words(beside) -> dict[str, str]:
    return {one.feature: one.words for one in beside.differences}


def drawn(picture: str) -> tuple[float, float]:
    """Side of the frame, and how wide a pixel of the image is in it."""
    return float(re.search(r'viewBox="0 0 ([\d.]+) ', picture)[1]), float(re.search(r"scale\(([\d.]+)\)", picture)[1])


def test_with_both_scales_a_micrometre_is_as_long_in_both(cell, other):
    beside = side_by_side(at_scale(cell, 0.1), at_scale(other, 0.2))
    (side, first), (second_side, second) = map(drawn, beside.pictures)
    assert side == second_side
    assert second / first == pytest.approx(2)
    assert [picture.count("µm</text>") for picture in beside.pictures] == [1, 0], "one bar"
    assert "a micrometre is as long" in beside.scale
    length, bar = re.search(
        r'width="([\d.]+)" height="[\d.]+" fill="#fff" stroke="#000".*?>([\d.]+) µm<', beside.pictures[0]
    ).groups()
    assert float(length) == pytest.approx(float(bar) / 0.1, rel=0.01)


@pytest.mark.parametrize(("one", "two"), [(None, None), (0.1, None), (None, 0.1)])
def test_without_both_scales_pixels_are_the_same_and_it_says_so(cell, other, one, two):
    beside = side_by_side(at_scale(cell, one), at_scale(other, two))
    assert [drawn(picture)[1] for picture in beside.pictures] == [1, 1]
    assert "µm</text>" not in "".join(beside.pictures)
    assert "A pixel is as large in both pictures" in beside.scale
    said = words(beside)[AREA]
    assert said.endswith("in pixels") if one is two else said == "cannot be compared: one scale is unknown"


def test_differences_are_the_second_beside_the_first(cell, other):
    one, two = at_scale(cell, 0.1), at_scale(other, 0.1)
    areas, ratios = ([c.features.values[name] for c in (one, two)] for name in (AREA, RATIO))
    beside = side_by_side(one, two)
    assert [difference.feature for difference in beside.differences] == list(KEY_FEATURES)
    percent = 100 * (areas[1] - areas[0]) / areas[0]
    assert words(beside)[AREA] == f"{abs(percent):.0f} % {'larger' if percent > 0 else 'smaller'}"
    percent = 100 * (ratios[1] - ratios[0]) / ratios[0]
    assert words(beside)[RATIO] == f"{abs(percent):.0f} % {'higher' if percent > 0 else 'lower'}"
    assert set(words(side_by_side(one, one)).values()) == {"the same"}


def test_a_difference_within_the_error_of_the_scales_is_said_to_be(cell):
    one, two = at_scale(cell, GivenScale(0.1, 0.1, "red cells")), at_scale(cell, 0.105)
    assert words(side_by_side(one, two))[AREA] == "10 % larger, within the error of the scales"
    assert words(side_by_side(at_scale(cell, 0.1), two))[AREA] == "10 % larger"


def test_what_was_not_measured_is_said_and_a_name_is_escaped(cell, other):
    nothing = replace(other.features, values=dict.fromkeys(other.features.values))
    named = replace(other, features=nothing, image=replace(other.image, name='"><b>.png'))
    beside = side_by_side(cell, named)
    assert set(words(beside).values()) == {"not measured in both"}
    assert "<b>" not in beside.pictures[1]
