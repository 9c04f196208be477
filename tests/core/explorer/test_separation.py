import numpy as np
import pytest

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.order import IndexBuild, build_index
from core.explorer.selection import Selection
from core.explorer.separation import INTERVALS, ExactRanking, find_panels, gather, rank_exactly, separate
from core.explorer.view import By
from core.features.catalogue import CATALOGUE

SIDES = (("monocyte",), ("lymphocyte",))
NAMES = ("monocytes", "lymphocytes")
BARCELONA = Selection(populations=("monocyte_acevedo", "lymphocyte_acevedo", "promyelocyte_acevedo"))
SOME = tuple(CATALOGUE)[::12]


def test_cells_of_a_side_stand_with_their_values_and_patients(shipped):
    cells = gather(
        shipped, Selection(sources=("Johns Hopkins, patients with acute leukaemia",)), By.CELL_TYPE, SIDES, SOME[:3]
    )
    sizes = {
        group.name: group
        for group in view.groups(
            shipped, Selection(sources=("Johns Hopkins, patients with acute leukaemia",)), By.CELL_TYPE
        )
    }
    assert np.bincount(cells.sides).tolist() == [sizes["monocyte"].cells, sizes["lymphocyte"].cells]
    assert len(np.unique(cells.patients[cells.sides == 0])) == sizes["monocyte"].patients
    assert cells.sampled_from is None
    assert cells.matrix.shape == (len(cells.sides), 3)


def test_a_sample_of_several_groups_keeps_their_shares(shipped):
    sides = (("monocyte",), ("lymphocyte", "promyelocyte"))
    cells = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1], sample=300)
    assert np.bincount(cells.sides).tolist() == [300, 300]
    everything = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1])
    assert cells.sampled_from == len(everything.sides) == cells.of
    low, high = np.nanpercentile(everything.matrix[everything.sides == 1], (45, 55))
    assert low < np.nanmedian(cells.matrix[cells.sides == 1]) < high
    again = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1], sample=300)
    np.testing.assert_array_equal(again.matrix, cells.matrix)


def test_the_index_ranks_as_the_values_do(shipped, tmp_path):
    features = tuple(CATALOGUE)
    by_values = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, features), NAMES, features)
    index = build_index(shipped, tmp_path)
    calls = []
    exact = rank_exactly(
        shipped,
        index,
        BARCELONA,
        By.CELL_TYPE,
        SIDES,
        NAMES,
        by_values,
        lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (len(features), len(features))
    for name, found in by_values.by_feature.items():
        assert exact.by_feature[name].effect == pytest.approx(found.effect, abs=1e-12), name
    with_interval = [found for found in exact.ranking.separations if found.low is not None]
    assert len(with_interval) == min(INTERVALS, len(exact.redundancy.groups))
    assert all(found.low <= found.effect <= found.high for found in with_interval)
    assert {found.feature for found in with_interval} == {
        found.feature for found in by_values.ranking.separations if found.low is not None
    }


def test_all_cells_are_ranked_in_the_background(shipped, tmp_path):
    features = SOME[:8]
    sampled = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, features, sample=300), NAMES, features)
    job = ExactRanking(shipped, IndexBuild(shipped, tmp_path), BARCELONA, By.CELL_TYPE, SIDES, NAMES, sampled)
    job.wait()
    assert job.error is None
    assert job.share == 1
    exact = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, features), NAMES, features)
    assert {name: found.effect for name, found in job.result.by_feature.items()} == pytest.approx(
        {name: found.effect for name, found in exact.by_feature.items()}, abs=1e-12
    )


def test_an_index_that_cannot_be_built_is_told(shipped, tmp_path):
    (tmp_path / "file").write_text("in the way")
    sampled = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME[:2], sample=50), NAMES, SOME[:2])
    job = ExactRanking(shipped, IndexBuild(shipped, tmp_path / "file"), BARCELONA, By.CELL_TYPE, SIDES, NAMES, sampled)
    job.wait()
    assert job.result is None
    assert "cannot be written" in job.error


def test_a_panel_tells_the_sides_apart(shipped):
    cells = gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME, sample=200)
    separated = separate(cells, NAMES, SOME)
    found = find_panels(cells, NAMES, separated.redundancy, SOME[:20])
    assert found.panels[0].auc > 0.9
    assert found.panels[0].cells == (200, 200)
    assert {each.feature for each in found.panels[0].features} <= set(SOME[:20])


@pytest.mark.parametrize(
    ("sides", "words"), [((("hcl",), ("monocyte",)), "no cell in view"), ((("monocyte",), ("monocyte",)), "two sides")]
)
def test_sides_that_cannot_be_compared_are_refused(shipped, sides, words):
    with pytest.raises(UsageError, match=words):
        gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1])
