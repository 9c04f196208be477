import numpy as np
import pytest

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.selection import Selection
from core.explorer.separation import (
    INTERVALS,
    MOST_AT_ONCE,
    SAMPLE,
    find_panels,
    gather,
    rank_exactly,
    sample_size,
    separate,
)
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
    assert not cells.sampled
    assert cells.matrix.shape == (len(cells.sides), 3)


def test_a_sample_of_several_groups_keeps_their_shares(shipped):
    sides = (("monocyte",), ("lymphocyte", "promyelocyte"))
    cells = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1], sample=300)
    assert np.bincount(cells.sides).tolist() == [300, 300]
    everything = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1])
    assert cells.sampled
    assert cells.of == len(everything.sides)
    low, high = np.nanpercentile(everything.matrix[everything.sides == 1], (45, 55))
    assert low < np.nanmedian(cells.matrix[cells.sides == 1]) < high
    again = gather(shipped, BARCELONA, By.CELL_TYPE, sides, SOME[:1], sample=300)
    np.testing.assert_array_equal(again.matrix, cells.matrix)


def test_where_all_cells_fit_none_is_left_out(shipped):
    whole = gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME)
    most = int(np.bincount(whole.sides).max())
    fits = gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME, sample=most)
    assert not fits.sampled
    np.testing.assert_array_equal(fits.matrix, whole.matrix)
    assert separate(fits, NAMES, SOME).ranking.sampling is None
    one_less = gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME, sample=most - 1)
    assert one_less.sampled
    assert len(one_less.sides) == len(whole.sides) - 1


def test_a_sample_is_within_the_error_that_its_size_allows(shipped):
    n, exact = 300, separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME), NAMES, SOME).by_feature
    errors = []
    for seed in range(5):
        sampled = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME, n, seed), NAMES, SOME).by_feature
        errors += [sampled[name].effect - exact[name].effect for name in SOME]
    # The standard error of delta between n and n cells of equal distributions; where they differ it is smaller.
    assert 0.2 < np.sqrt(np.mean(np.square(errors))) / np.sqrt((2 * n + 1) / (3 * n * n)) < 1


def test_features_on_screen_are_ranked_by_all_cells(shipped):
    exact = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME), NAMES, SOME)
    sampled = separate(gather(shipped, BARCELONA, By.CELL_TYPE, SIDES, SOME, sample=300), NAMES, SOME)
    shown = [found.feature for found in sampled.ranking.separations][:11]  # more than are read at once
    found = sampled.with_exact(rank_exactly(shipped, BARCELONA, By.CELL_TYPE, SIDES, NAMES, shown))
    assert found.ranking.n == exact.ranking.n
    for name, each in found.by_feature.items():
        assert each.sampled == (name not in shown)
        assert each.effect == (exact if name in shown else sampled).by_feature[name].effect
    assert all(found.by_feature[name].low <= found.by_feature[name].effect for name in shown)
    assert [each.feature for each in found.ranking.separations if each.low is not None].count(shown[0]) == 1
    with_interval = {each.feature for each in sampled.ranking.separations if each.low is not None}
    for aspect, groups in sampled.aspects.items():
        first = {group.representative for group in groups[:INTERVALS]}
        assert first | {sampled.best(aspect, SOME)} == {
            name for name in with_interval if CATALOGUE[name].aspect is aspect
        }


def test_many_sides_have_smaller_samples():
    assert sample_size(2) == SAMPLE == 20_000
    assert sample_size(50) * 50 == MOST_AT_ONCE


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
