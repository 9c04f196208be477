import json
from dataclasses import replace

import pytest

from core.charts.ranges import LIMIT, overview_chart, published_view, range_chart, shades
from core.charts.rows import POOR_HEADING, blocks, part
from core.charts.theme import LIGHT, population_colour
from core.domain.cell_types import CellType
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.spec import Theme
from tests.populations import ELONGATION, grades

SHAPE = part(Theme.SHAPE)
NUCLEUS_POOR = grades({ELONGATION: Grade.POOR}, among=CATALOGUE)


def _rows(spec: dict, key: str) -> list[dict]:
    """Rows of every data set of a chart that has the column."""
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def _range_spec(placed, name="lymphocyte_drawn", others=(), features=SHAPE, reliability=NUCLEUS_POOR) -> dict:
    place = placed[name]
    references = [placed[o].reference for o in others]
    return range_chart(
        place.comparisons, place.reference, references, blocks(features, reliability), reliability, LIGHT
    ).to_dict()


def test_every_comparable_feature_has_one_row_with_the_cells_value(placed):
    marks = _rows(_range_spec(placed), "place")
    comparisons = {c.feature: c for c in placed["lymphocyte_drawn"].comparisons}
    assert {m["row"] for m in marks} == {n for n, c in comparisons.items() if c.comparable and n in SHAPE}
    for mark in marks:
        comparison = comparisons[mark["row"]]
        assert mark["z"] == pytest.approx(max(-LIMIT, min(LIMIT, comparison.robust_z)))
        expected = {"inside"} if not comparison.outside else {"above", "below"}
        assert mark["place"] in ({"poor"} if mark["row"] == ELONGATION else expected)


def test_headings_stand_before_their_features_and_the_poor_last(placed):
    names = [*SHAPE, *part(Theme.TONE)]
    spec = _range_spec(placed, features=names)
    rows = {row["row"] for row in _rows(spec, "place")}
    keys = spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert rows == set(keys) & set(CATALOGUE)
    headings = [key.removeprefix("§") for key in keys if key not in CATALOGUE]
    assert headings == [*dict.fromkeys(CATALOGUE[name].group for name in names), POOR_HEADING]
    assert keys[-2:] == [f"§{POOR_HEADING}", ELONGATION]
    assert spec["height"] == 20 * len(keys)


def test_a_poor_feature_is_faint_says_why_and_claims_nothing(placed):
    spec = _range_spec(placed)
    assert {row["row"] for row in _rows(spec, "low") if row["poor"]} == {ELONGATION}
    (mark,) = [row for row in _rows(spec, "place") if row["row"] == ELONGATION]
    assert (mark["place"], mark["Trust"]) == ("poor", "Poor: drawn so for a test.")
    ungraded = _rows(_range_spec(placed, reliability={}), "place")
    assert {row["Trust"] for row in ungraded} == {"not yet measured for this model"}
    assert not {row["place"] for row in ungraded} & {"poor"}


def test_a_population_of_an_older_catalogue_has_a_row_only_for_what_it_knows(placed):
    place = placed["lymphocyte_drawn"]
    other = placed["monocyte_drawn"].reference
    older = replace(other, summaries={n: s for n, s in other.summaries.items() if n != ELONGATION})
    spec = range_chart(place.comparisons, place.reference, [older], blocks(SHAPE, {}), {}, LIGHT).to_dict()
    rows = {row["row"] for row in _rows(spec, "low") if row["Population"] == older.title}
    assert rows
    assert ELONGATION not in rows
    few = placed["hcl_drawn"].reference
    few = replace(few, summaries={n: s for n, s in few.summaries.items() if n != ELONGATION})
    dots = _rows(
        range_chart(place.comparisons, place.reference, [few], blocks(SHAPE, {}), {}, LIGHT).to_dict(), "Value"
    )
    assert ELONGATION not in {row["row"] for row in dots}


def test_bands_hold_the_median_at_zero_and_the_raw_values_in_the_hover(placed):
    spec = _range_spec(placed)
    bands = [row for row in _rows(spec, "low") if row["Population"] == placed["lymphocyte_drawn"].reference.title]
    assert bands
    for band in bands:
        assert band["low"] <= 0 <= band["high"]
        assert band["middle"] == pytest.approx(0, abs=0.01), (
            "the median of an even n differs a little from that of the logarithms"
        )
        assert "n = 22" in band["Who"]
        assert " to " in band["2-98 %"]


def test_small_groups_are_points_and_have_no_band(placed):
    spec = _range_spec(placed, others=["hcl_drawn"])
    title = placed["hcl_drawn"].reference.title
    dots = [row for row in _rows(spec, "Value") if row["Population"] == title]
    assert not [row for row in _rows(spec, "low") if row["Population"] == title]
    elongations = [row for row in dots if row["row"] == "nucleus_shape2D_Elongation"]
    assert len(elongations) == 5
    assert not [row for row in dots if CATALOGUE[row["row"]].length_power], (
        "sizes of a population without a scale must not be drawn"
    )


def test_published_tables_are_hollow_and_dashed(placed):
    place = placed["lymphocyte_drawn"]
    published = placed["published_lymphocyte"].reference
    spec = range_chart(place.comparisons, place.reference, [published], blocks(SHAPE, {}), {}, LIGHT).to_dict()
    text = json.dumps(spec)
    assert '"strokeDash": [3, 2]' in text
    assert [row for row in _rows(spec, "low") if row["Population"] == published.title]
    own = placed["published_lymphocyte"]
    alone = json.dumps(range_chart(own.comparisons, own.reference, [], blocks(SHAPE, {}), {}, LIGHT).to_dict())
    assert '"fillOpacity": 0,' in alone
    assert '"fillOpacity": 0.35' not in alone


def test_published_view_is_logarithmic_and_shifts_as_the_thesis_does(placed):
    place = placed["monocyte_drawn"]
    spec = published_view(place.comparisons, place.reference, part(Theme.TONE), {}, LIGHT).to_dict()
    assert '"type": "log"' in json.dumps(spec)
    values = {row["Feature"]: row for row in _rows(spec, "value")}
    by_name = {c.feature: c.value for c in place.comparisons}
    skewness = "nucleus_firstorder_Skewness"
    label = CATALOGUE[skewness].label
    if by_name[skewness] > -1:
        assert values[label]["value"] == pytest.approx(by_name[skewness] + 1)
        assert "+ 1" in values[label]["feature"]
    energy = "nucleus_firstorder_Energy"
    assert values[CATALOGUE[energy].label]["value"] == pytest.approx(by_name[energy] * 1e-6)
    assert len(values) <= 17 * 2, "only what the thesis has"
    poor = published_view(place.comparisons, place.reference, SHAPE, NUCLEUS_POOR, LIGHT).to_dict()
    assert _rows(poor, "value")[-1]["feature"] == "Nucleus elongation, poor"


def test_overview_has_a_column_for_every_population_with_bands(placed):
    measured = [(p.reference, p.comparisons) for p in placed.values() if not p.reference.published]
    rows = _rows(overview_chart(measured, blocks(SHAPE, NUCLEUS_POOR), NUCLEUS_POOR, LIGHT).to_dict(), "sign")
    columns = {row["population"] for row in rows}
    assert len(columns) == 3
    assert not any("hcl" in column for column in columns)
    outside = {
        (c.feature, r.title) for r, comparisons in measured for c in comparisons if c.outside and c.robust_z is not None
    }
    marked = {(row["row"], row["population"].split(" (n")[0]) for row in rows if row["sign"]}
    assert marked == {pair for pair in outside if pair[0] in SHAPE and pair[0] != ELONGATION}


def test_a_cell_without_values_gives_an_empty_chart(placed):
    place = placed["monocyte_drawn"]
    assert range_chart([], place.reference, [], blocks(SHAPE, {}), {}, LIGHT).to_dict()["height"] > 0
    assert overview_chart([], blocks(SHAPE, {}), {}, LIGHT).to_dict()["height"] > 0
    assert published_view([], place.reference, SHAPE, {}, LIGHT).to_dict()


def test_every_further_source_has_its_own_shade(placed):
    reference = {name: place.reference for name, place in placed.items()}
    own = shades(
        reference["monocyte_drawn"],
        [reference["monocyte_other"], reference["published_monocyte"], reference["hcl_drawn"]],
    )
    assert own[0] != population_colour(CellType.MONOCYTE)
    assert own[2] == population_colour(CellType.HCL)
    two_of_one_type = shades(reference["lymphocyte_drawn"], [reference["monocyte_drawn"], reference["monocyte_other"]])
    assert len(set(two_of_one_type)) == 2
