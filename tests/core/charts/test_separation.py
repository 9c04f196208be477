from dataclasses import dataclass

from core.charts.groups import styled
from core.charts.separation import separation_chart
from core.charts.theme import DARK, LIGHT, to_svg
from core.evaluation.agreement import Grade
from tests.populations import AREA, ELONGATION, RATIO, grades

TWO = styled(["monocytes", "lymphocytes"], [1000, 900], [12, 11])
THREE = styled(["a", "b", "c"], [10, 10, 10], [None] * 3)


@dataclass(frozen=True)
class Found:
    feature: str
    effect: float | None
    q: float | None = 0.0001
    low: float | None = None
    high: float | None = None
    n: tuple[int, ...] = (1000, 900)
    patients: tuple[int, ...] | None = (12, 11)


def _rows(spec: dict) -> list[dict]:
    """Rows of the features, once: every layer has the same."""
    return next(rows for rows in spec["datasets"].values() if rows and "In words" in rows[0])


FOUND = [Found(RATIO, 0.9, low=0.85, high=0.93), Found(ELONGATION, -0.2, q=0.3), Found(AREA, None)]


def test_rows_come_in_the_order_given_and_say_effect_interval_and_n():
    spec = separation_chart(FOUND, ["first", "second", "third"], TWO, {}, LIGHT).to_dict()
    first, second = _rows(spec)
    assert (first["feature"], second["feature"]) == (RATIO, ELONGATION), "without an effect there is nothing to draw"
    assert (first["In words"], first["n"], first["Patients"]) == ("first", "1,000 / 900", "12 / 11")
    assert first["Interval"] == "0.900 (0.850 to 0.930)"
    assert (first["q"], second["q"], second["Interval"]) == ("< 0.001", "0.300", "-0.200")
    assert "n 1,000 / 900, q &lt; 0.001" in to_svg(separation_chart(FOUND, ["", "", ""], TWO, {}, LIGHT), 900)


def test_a_mark_tells_by_shape_which_group_is_larger_and_by_filling_whether_chance_explains_it():
    spec = separation_chart(FOUND, ["", "", ""], TWO, {}, DARK).to_dict()
    assert [(row["larger"], row["sure"]) for row in _rows(spec)] == [("monocytes", True), ("lymphocytes", False)]
    sure, unsure = spec["layer"][0]["layer"][2:]
    assert sure["encoding"]["shape"]["scale"] == {"domain": [g.name for g in TWO], "range": [g.shape for g in TWO]}
    assert unsure["mark"]["fill"] == DARK.paper
    assert sure["encoding"]["x"]["scale"]["domain"] == [-1, 1]


def test_an_untested_feature_and_no_effect_claim_nothing():
    spec = separation_chart([Found(RATIO, 0.0, q=None)], [""], TWO, {}, LIGHT).to_dict()
    (row,) = _rows(spec)
    assert (row["larger"], row["sure"], row["q"]) == ("equal", False, "not tested")


def test_more_groups_share_one_colour_and_an_axis_from_zero():
    spec = separation_chart([Found(RATIO, 0.4, n=(10, 10, 10), patients=None)], [""], THREE, {}, LIGHT).to_dict()
    (row,) = _rows(spec)
    assert (row["n"], row["Patients"]) == ("10 / 10 / 10", "not all known")
    marks = spec["layer"][0]["layer"][2]["encoding"]
    assert marks["x"]["scale"]["domain"] == [0, 1]
    assert marks["stroke"]["scale"]["range"] == [LIGHT.ink]


def test_a_poor_feature_is_faint_and_named_so():
    reliability = grades({ELONGATION: Grade.POOR}, among=[RATIO, ELONGATION])
    spec = separation_chart(FOUND, ["", "", ""], TWO, reliability, LIGHT).to_dict()
    assert [(row["poor"], row["Trust"]) for row in _rows(spec)] == [
        (False, "Good: drawn so for a test."),
        (True, "Poor: drawn so for a test."),
    ]
    assert "Nucleus elongation, poor" in to_svg(separation_chart(FOUND, ["", "", ""], TWO, reliability, LIGHT), 900)


def test_nothing_to_rank_is_an_empty_chart():
    assert separation_chart([], [], TWO, {}, LIGHT).to_dict()["height"] > 0
