"""Cliff's delta and its error: counted by hand, and against the spread of many samples."""

import numpy as np
import pytest

from core.populations.dominance import dominance


def test_delta_counts_pairs_and_equal_values_half():
    found = dominance(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, np.nan]))
    # Of six pairs the first is larger in four, smaller in one, equal in one.
    assert found.delta == pytest.approx((4 - 1) / 6)
    assert found.n == (3, 2)
    swapped = dominance(np.array([2.0, 0.0]), np.array([1.0, 2.0, 3.0]))
    assert swapped.delta == pytest.approx(-found.delta)
    assert swapped.error == pytest.approx(found.error)


@pytest.mark.parametrize("by_patient", [False, True])
def test_the_error_is_the_spread_of_many_samples(by_patient):
    rng = np.random.default_rng(0)
    deltas, errors, inside = [], [], 0
    truth = 0.27633 if not by_patient else 0.19741  # 2 Phi(0.5 / sd of the difference) - 1
    for _ in range(300):
        first, second = rng.normal(0.5, 1, 200), rng.normal(0, 1, 150)
        patients = None
        if by_patient:
            patients = np.repeat(np.arange(20), 10), np.repeat(np.arange(20, 50), 5)
            first = first + np.repeat(rng.normal(0, 1, 20), 10)
            second = second + np.repeat(rng.normal(0, 1, 30), 5)
        found = dominance(first, second, patients)
        deltas.append(found.delta)
        errors.append(found.error)
        low, high = found.interval
        inside += low <= truth <= high
    assert np.mean(deltas) == pytest.approx(truth, abs=0.02)
    assert np.mean(errors) == pytest.approx(np.std(deltas), rel=0.15)
    assert 0.9 <= inside / 300 <= 0.98


def test_a_patient_on_both_sides_counts_in_both():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 3, 30)
    first, second = (np.repeat(shared, 5) + rng.normal(0, 1, 150) for _ in range(2))
    people = np.repeat(np.arange(30), 5)
    paired = dominance(first, second, (people, people))
    apart = dominance(first, second, (people, people + 30))
    assert paired.delta == apart.delta
    assert paired.error < 0.5 * apart.error  # what they share is on both sides


def test_groups_that_do_not_overlap_are_not_certain():
    found = dominance(np.arange(10.0, 30.0), np.arange(5.0))
    assert found.delta == 1
    assert found.error == pytest.approx(2 * 0.5 / 5)
    assert found.interval[1] == 1


@pytest.mark.parametrize(
    ("first", "patients"), [([1.0, np.nan], None), ([1.0, 2.0], (np.array([0, 0]), np.array([1, 2, 3])))]
)
def test_too_few_cells_or_patients_give_nothing(first, patients):
    assert dominance(np.array(first), np.array([1.0, 2.0, 3.0]), patients) is None
