import numpy as np
import pytest
from scipy.stats import spearmanr

from core.domain.errors import UsageError
from core.explorer.redundancy import MOST_CELLS, group_alike, rank_correlation
from core.features.catalogue import CATALOGUE

NAMES = list(CATALOGUE)
ONE_GROUP = np.zeros(400, dtype=int)


def related(seed=0, n=400):
    """Three features of one kind (the third turned round), one of its own."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n)
    near = base + 0.1 * rng.normal(size=n)
    return np.column_stack([base, np.exp(near), -base + 0.3 * rng.normal(size=n), rng.normal(size=n)])


def test_of_one_group_it_is_spearmans_rho():
    matrix = np.round(related(), 1)  # with ties
    assert rank_correlation(matrix, ONE_GROUP) == pytest.approx(spearmanr(matrix).statistic, abs=1e-12)


def test_what_differs_between_the_groups_does_not_correlate_by_that():
    rng = np.random.default_rng(3)
    groups = np.repeat([0, 1], 500)
    matrix = rng.normal(size=(1000, 2)) + 8 * groups[:, None]
    assert spearmanr(matrix).statistic > 0.7
    assert abs(rank_correlation(matrix, groups)[0, 1]) < 0.1


def test_groups_count_by_their_cells_and_cells_of_no_group_do_not():
    rng = np.random.default_rng(4)
    x = rng.normal(size=400)
    matrix = np.column_stack([x, np.concatenate([x[:300], -x[300:]])])
    groups = np.repeat([0, 1], [300, 100])
    assert rank_correlation(matrix, groups)[0, 1] == pytest.approx(0.5)
    groups[300:] = -1
    assert rank_correlation(matrix, groups)[0, 1] == pytest.approx(1.0)


def test_absent_values_do_not_dilute_a_correlation():
    matrix = related()
    matrix[::2, 0] = np.nan
    assert rank_correlation(matrix, ONE_GROUP)[0, 1] == pytest.approx(spearmanr(matrix[1::2, :2]).statistic, abs=0.02)


def test_a_feature_that_does_not_vary_or_is_absent_correlates_with_nothing():
    matrix = related()
    matrix[:, 1], matrix[:, 3] = 5.0, np.nan
    rho = rank_correlation(matrix, ONE_GROUP)
    assert rho[1].tolist() == [0, 1, 0, 0]
    assert rho[3].tolist() == [0, 0, 0, 1]


def test_alike_features_have_the_best_reliable_one_speak_for_them():
    found = group_alike(related(), ONE_GROUP, NAMES[:4], np.array([0.9, 0.7, 0.8, 0.5]), {NAMES[1], NAMES[2], NAMES[3]})
    first, second = found.groups
    assert first.representative == NAMES[2], "the best of all is not reliable"
    assert first.others == (NAMES[0], NAMES[1])
    assert all(rho < -0.8 for rho in first.rho)
    assert second.members == (NAMES[3],)
    assert found.codes.tolist() == [0, 0, 0, 1]
    assert CATALOGUE[NAMES[2]].label in first.sentence
    assert "2 features that say nearly the same" in first.sentence
    assert "no other feature" in second.sentence
    assert found.sentence.startswith("4 features say 2 different things")


def test_where_none_is_reliable_the_best_speaks_last_and_it_is_said():
    found = group_alike(related(), ONE_GROUP, NAMES[:4], np.array([0.9, np.nan, 0.8, 0.5]), {NAMES[3]})
    assert [group.reliable for group in found.groups] == [True, False]
    assert found.groups[1].representative == NAMES[0]
    assert found.groups[1].sentence.endswith("None of them is reliable.")


def test_groups_hang_on_neither_units_nor_the_order_of_cells():
    matrix, scores = related(), np.array([0.9, 0.7, 0.8, 0.5])
    shuffled = np.random.default_rng(5).permutation(400)
    changed = matrix[shuffled] * np.array([1e-6, 1e6, 0.095, 3])
    assert group_alike(matrix, ONE_GROUP, NAMES[:4], scores, NAMES).groups[0].members == (
        group_alike(changed, ONE_GROUP, NAMES[:4], scores, NAMES).groups[0].members
    )


def test_of_very_many_cells_a_sample_is_looked_at_and_said():
    n = MOST_CELLS + 1000
    found = group_alike(related(n=n), np.zeros(n, dtype=int), NAMES[:4], np.ones(4), NAMES)
    assert (found.n, found.of) == (MOST_CELLS, n)
    assert "sample of 5,000 of 6,000" in found.sentence
    assert len(found.groups) == 2


def test_a_single_feature_is_a_group_of_its_own():
    found = group_alike(related()[:, :1], ONE_GROUP, NAMES[:1], np.ones(1), NAMES)
    assert found.groups[0].members == (NAMES[0],)


def test_too_few_cells_are_refused():
    with pytest.raises(UsageError, match="at least 10 cells"):
        group_alike(related()[:12], np.repeat([0, -1], [9, 3]), NAMES[:4], np.ones(4), NAMES)
