import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.evaluation.agreement import Grade
from core.explorer import separation
from core.explorer.ranking import rank_features
from core.explorer.selection import Quality, Selection
from core.explorer.separation import find_panels, gather
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.spec import Aspect
from core.reports.comparison import compare, html_report, to_frame
from core.store.database import Cohort
from core.store.shards import write_population
from tests.core.explorer.conftest import LYMPHO, MONO, OTHER_SCALE, UNSCALED, spread_rows
from tests.core.reports.support import STYLE, Seen, assert_fetches_and_runs_nothing
from tests.core.store.conftest import AREA, RATIO, make_population
from tests.populations import grades

WHEN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
TWO = (("monocyte",), ("lymphocyte",))
ONE_SOURCE = Selection(sources=("A",))


def compared(cohort, selection=ONE_SOURCE, by=By.CELL_TYPE, sides=TWO, reliability=None):
    names = [" and ".join(side) for side in sides]
    return compare(cohort, selection, by, sides, names, reliability or {})


def test_the_ranking_is_of_all_cells_of_the_sides_and_of_no_others(small):
    found = compared(small)
    cells = gather(small, ONE_SOURCE, By.CELL_TYPE, TWO, list(CATALOGUE))
    wanted = rank_features(cells.columns, cells.sides, ["monocyte", "lymphocyte"], cells.patients, intervals=())
    effects = {each.feature: each.effect for each in wanted.separations}
    assert {each.feature: each.effect for each in found.separated.ranking.separations} == effects
    assert found.separated.ranking.n == (58, 38)
    assert found.in_view.cells == 96
    assert found.selection == replace(ONE_SOURCE, cell_types=(CellType.MONOCYTE, CellType.LYMPHOCYTE))
    assert [population.population_id for population in found.populations] == [MONO, LYMPHO]


def test_a_sample_ranks_all_features_and_all_cells_those_that_lead(small, monkeypatch):
    whole = compared(small)
    assert whole.separated.ranking.sampling is None
    assert "sample" not in html_report(whole, {}, WHEN)
    monkeypatch.setattr(separation, "SAMPLE", 20)
    found = compared(small)
    assert (found.cells.of, len(found.cells.sides)) == (96, 40)
    assert found.separated.ranking.n == (58, 38)
    leading = {each.feature for each in found.leading({}, 5)}
    assert {each.feature for each in found.separated.ranking.separations if not each.sampled} == leading
    for name in leading:
        assert found.separated.by_feature[name].effect == whole.separated.by_feature[name].effect
    text = html_report(found, {}, WHEN)
    assert f"{len(leading)} features are ranked by all 96 cells" in text
    assert text.count("(sample)</td>") == len(CATALOGUE) - len(leading)
    assert to_frame(found, {})["sampled"].sum() == len(CATALOGUE) - len(leading)


def test_across_sources_form_is_compared_and_the_report_says_why_nothing_else(small):
    found = compared(small, Selection(), By.POPULATION, ((MONO,), (OTHER_SCALE,)))
    assert {AREA, RATIO} <= set(found.separated.by_feature)
    assert not any(CATALOGUE[name].intensity_dependent for name in found.separated.by_feature)
    assert len(found.refused) == len(CATALOGUE) - len(found.separated.by_feature)
    text = html_report(found, {}, WHEN)
    assert "The cells come from 2 sources" in text
    assert "features are not compared: it depends on stain, light and camera" in text
    frame = to_frame(found, {}).set_index("feature")
    assert frame["not_compared"].tail(len(found.refused)).notna().all()
    assert frame["not_compared"].notna().sum() == len(found.refused)


def test_the_report_tells_cells_effects_methods_and_origin_and_fetches_nothing(small):
    reliability = grades({RATIO: Grade.POOR}, CATALOGUE)
    found = compared(small, reliability=reliability)
    found = replace(found, panels=find_panels(found.cells, found.names, found.separated.redundancy, list(CATALOGUE)))
    text = html_report(found, reliability, WHEN)
    words = Seen(text).words
    assert "<h1>Monocyte beside lymphocyte</h1>" in text
    assert "58 cells, patients not all known" in text
    assert "Cell type is monocyte or lymphocyte." in text
    assert "2 cells are left out because not: quality is good" not in text
    assert "4 cells are left out because not: quality is good" in text
    assert "Cliff's delta" in words
    assert "Mann and Whitney's U, two-sided, corrected for ties, between cells" in words
    assert f"over {len(CATALOGUE)} features" in text
    assert "interval and p are too sure of themselves" in text
    assert "Few features together" in text
    assert "Version of leukoscope" in text
    assert found.revision in text
    assert "23 November 2026, 09:30" in text
    assert text.count("<svg") == 7
    assert len(re.findall("<tr[^>]*><td title", text)) == len(CATALOGUE)
    poor_last = [text.rindex(f'title="{escape(CATALOGUE[name].description)}"') for name in (AREA, RATIO)]
    assert poor_last == sorted(poor_last)
    assert_fetches_and_runs_nothing(text)
    assert STYLE in text


def test_poor_features_lead_nothing(small):
    reliability = grades({}, CATALOGUE)
    first = compared(small, reliability=reliability).leading(reliability, 1)[0].feature
    poor = grades({first: Grade.POOR}, CATALOGUE)
    found = compared(small, reliability=poor)
    assert first not in [each.feature for each in found.leading(poor, 15)]
    assert first in found.separated.by_feature


def test_three_groups_are_compared_by_shares_of_ranks(small):
    found = compared(small, Selection(), By.POPULATION, ((MONO,), (LYMPHO,), (OTHER_SCALE,)))
    text = html_report(found, {}, WHEN)
    assert "Epsilon squared" in text
    assert "Kruskal and Wallis' H" in Seen(text).words


def test_patients_are_counted_where_all_are_known(small):
    found = compared(small, Selection(quality=Quality.ANY), By.POPULATION, ((OTHER_SCALE,), (UNSCALED,)))
    text = html_report(found, {}, WHEN)
    assert "30 cells, 4 patients" in text
    assert "no test between patients is possible" in text
    assert "not made between so few patients" in text


def test_names_from_outside_are_escaped(tmp_path):
    bad = "<script>alert(1)</script>"
    root: Path = tmp_path / "cohort"
    rng = np.random.default_rng(1)
    for name in ("one", "two"):
        population = make_population(name, source=bad, title=f"{name} {bad}", note=bad, um_per_px=0.1)
        write_population(root, population, [spread_rows(population, 25, rng)])
    with Cohort.open([root]) as cohort:
        found = compare(
            cohort, Selection(sources=(bad,)), By.POPULATION, (("one",), ("two",)), (f"one {bad}", "two"), {}
        )
    text = html_report(found, {}, WHEN)
    assert_fetches_and_runs_nothing(text)
    assert bad not in text
    assert f"<h1>{escape(f'One {bad} beside two')}</h1>" in text
    assert bad in Seen(text).words


def test_the_table_has_units_and_trust(small):
    reliability = grades({RATIO: Grade.POOR}, CATALOGUE)
    frame = to_frame(compared(small, reliability=reliability), reliability).set_index("feature")
    assert frame.loc[AREA, "unit_of_medians"] == "µm²"
    assert frame.loc[RATIO, "trust"] == "poor"
    assert frame.loc[AREA, "n monocyte"] == 57  # the third cell has none
    # Morphology first, in each aspect the largest effect first, and what is poor after all.
    good = frame.drop(RATIO)
    assert good["aspect"].drop_duplicates().tolist() == list(Aspect)
    assert frame.index[-1] == RATIO
    for _, of_aspect in good.groupby("aspect"):
        assert of_aspect["effect"].abs().is_monotonic_decreasing


def test_groups_that_are_too_small_are_refused(small):
    with pytest.raises(UsageError, match="no cell in view"):
        compared(small, sides=(("monocyte",), ("basophil",)))
    with pytest.raises(UsageError, match="two or more groups"):
        compared(small, sides=(("monocyte",),))


def test_groups_of_two_models_say_so_in_the_table_and_the_report(tmp_path, small):
    rng = np.random.default_rng(5)
    for name, model in (("old", "model-1"), ("new", "model-2")):
        population = make_population(name, um_per_px=0.1)
        rows = [row | {"model_id": model} for row in spread_rows(population, 30, rng)]
        write_population(tmp_path, population, [rows])
    with Cohort.open([tmp_path]) as cohort:
        found = compared(cohort, Selection(), By.POPULATION, (("old",), ("new",)))
    (note,) = set(to_frame(found, {})["model_note"])
    assert "model-1 (cells in view: 28 of 56 cells), model-2 (cells in view: 28 of 56 cells)" in note
    assert str(escape(note)) in html_report(found, {}, WHEN)
    assert to_frame(compared(small), {})["model_note"].isna().all()
