import re

import numpy as np
import pytest

from core.charts.range_bars import bars_html, round_step


@pytest.mark.parametrize(("width", "step"), [(200, 1), (1000, 5), (1.0, 0.005), (370, 2), (0.04, 0.0002), (1800, 10)])
def test_a_step_is_round_and_about_a_two_hundredth(width, step):
    assert round_step(width) == pytest.approx(step)


def test_bars_are_as_high_as_cells_lie_there_and_the_kept_ones_are_marked():
    values, cells = np.array([0.0, 24.0, 48.0]), np.array([0.0, 10.0, 40.0])  # three times as dense above the middle
    drawn = bars_html(values, cells, (0.0, 48.0), (24.0, 48.0))
    assert re.findall(r"height:(\d+)%", drawn) == ["33"] * 24 + ["100"] * 24
    assert drawn.count("class=kept") == 24
    assert drawn.index("class=kept") > drawn.index("100%") - 30


def test_no_cells_are_no_bars():
    assert "height:0%" in bars_html(np.array([0.0, 1.0]), np.zeros(2), (0.0, 1.0), (0.0, 1.0))
