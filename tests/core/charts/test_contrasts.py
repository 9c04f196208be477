"""The chart of contrasts: a row a feature, a mark a source and one pooled."""

import re

import pytest

from core.charts.contrasts import forest_chart
from core.charts.theme import DARK, LIGHT, to_svg
from core.evaluation.agreement import Grade
from core.populations.contrast import Contrast
from core.populations.dominance import Dominance
from tests.populations import grades

FEATURES = ("cell_shape2D_PixelSurface", "nucleus_firstorder_Mean")


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_each_source_and_the_pooled_value_have_a_mark(look):
    told = {"Bern & Basel": Dominance(0.5, 0.1, (20, 30)), "<b>": Dominance(-0.2, 0.1, (20, 30))}
    contrasts = [
        Contrast(FEATURES[0], told, 0.2, -0.4, 0.8, 0.9),
        Contrast(FEATURES[1], {"<b>": Dominance(0.1, 0.1, (20, 30))}),
    ]
    chart = forest_chart(
        contrasts, list(told), ("monocytes", "lymphocytes"), grades({FEATURES[1]: Grade.POOR}, FEATURES), look
    )
    svg = to_svg(chart, 700)
    assert "Cell area" in svg
    assert "Nucleus tone, mean, poor" in svg
    assert "larger in monocytes" in svg
    assert "&lt;b&gt;" in svg
    drawn = re.findall(r"<g class=\"mark-symbol role-mark[^>]*>(.*?)</g>", svg, re.DOTALL)
    assert sum(group.count("<path") for group in drawn) == 4
