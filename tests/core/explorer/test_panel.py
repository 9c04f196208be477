import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from core.domain.errors import UsageError
from core.domain.settings import load_settings
from core.explorer.panel import MOST_CELLS, MOST_FEATURES, Panels, _auc, _folds, _interval, _score_test, panels
from core.explorer.ranking import patient_codes
from core.explorer.selection import Selection
from core.explorer.view import By, values
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features
from core.store.database import Cohort

LINEAR = [name for name, spec in CATALOGUE.items() if not spec.log_axis]
LOG = [name for name, spec in CATALOGUE.items() if spec.log_axis]
TWO = ("monocytes", "lymphocytes")


def people(n, patients):
    return np.arange(n) % patients


def noise(n=600, features=20, seed=0):
    return np.random.default_rng(seed).normal(size=(n, features))


def planted(seed=0, n=900, features=30):
    """Columns 3 and 7 tell the groups, each half; column 8 repeats 7."""
    matrix, groups = noise(n, features, seed), np.repeat([0, 1], n // 2)
    matrix[:, 3] += 1.5 * (groups == 0)
    matrix[:, 7] -= 1.5 * (groups == 0)
    matrix[:, 8] = matrix[:, 7] + 0.02 * np.random.default_rng(seed + 1).normal(size=n)
    return matrix, groups


# --- honesty ---


def of_patients(seed=0):
    """40 patients of either group; features tell the patients apart and nothing else."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(80), 12)
    matrix = rng.normal(size=(80, 25))[patients] + 0.15 * rng.normal(size=(len(patients), 25))
    return matrix, (patients >= 40).astype(int), patients


def test_what_tells_only_patients_apart_tells_no_groups_of_new_patients():
    aucs = [
        panels(matrix, groups, TWO, patients, LINEAR[:25]).panels[0].auc
        for matrix, groups, patients in map(of_patients, range(4))
    ]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.1)
    matrix, groups, patients = of_patients()
    honest = panels(matrix, groups, TWO, patients, LINEAR[:25])
    assert honest.patients_known
    assert honest.notes == ()
    assert honest.panels[0].low < 0.5 < honest.panels[0].high
    assert "No few features" in honest.panels[0].sentence
    assert "patients 40 / 40" in honest.panels[0].sentence


def test_the_same_cells_without_their_patients_look_told_apart_and_the_result_says_why():
    matrix, groups, patients = of_patients()
    fooled = panels(matrix, groups, TWO, np.full(len(patients), -1), LINEAR[:25])
    assert fooled.panels[0].low > 0.65
    assert not fooled.patients_known
    assert fooled.panels[0].patients is None
    assert "No cell's patient is known" in fooled.notes[0]
    assert "too good" in fooled.notes[0]


def test_labels_without_meaning_give_a_half_though_features_were_chosen():
    aucs = []
    for seed in range(5):
        groups = np.random.default_rng(100 + seed).integers(0, 2, 600)
        found = panels(noise(seed=seed, features=60), groups, TWO, people(600, 60), LINEAR[:60]).panels[0]
        aucs.append(found.auc)
        assert found.low < 0.55
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.04)


def test_no_patient_is_on_both_sides():
    patients = np.random.default_rng(1).integers(0, 30, 500)
    folds = _folds((patients % 3 == 0).astype(int), patients, TWO, seed=0)
    assert len(np.unique(folds)) == 5
    assert all(len(np.unique(folds[patients == patient])) == 1 for patient in range(30))


def test_a_few_unknown_patients_are_counted():
    matrix, groups = planted()
    patients = people(900, 50)
    patients[:7] = -1
    assert "patients of 7 of 900 cells" in panels(matrix, groups, TWO, patients, LINEAR[:30]).notes[0]


# --- what is found ---


def test_planted_features_are_found_and_a_repeated_one_is_not():
    matrix, groups = planted()
    found = panels(
        matrix, groups, TWO, people(900, 60), LINEAR[:30], alike=np.where(np.arange(30) == 8, 7, np.arange(30))
    )
    panel = found.panels[0]
    chosen = {feature.feature: feature for feature in panel.features}
    assert LINEAR[3] in chosen
    assert len({LINEAR[7], LINEAR[8]} & set(chosen)) == 1
    assert len(panel.features) <= 3
    assert panel.low < roc_auc_score(groups == 0, matrix[:, 3] - matrix[:, 7]) < panel.high
    assert chosen[LINEAR[3]].weight > 0
    assert chosen[LINEAR[3]].auc == pytest.approx(roc_auc_score(groups == 0, matrix[:, 3]))
    assert chosen[LINEAR[3]].chosen == found.folds == 5
    assert all(feature.chosen_alike == 5 for name, feature in chosen.items() if name != LINEAR[3])
    assert "monocytes from lymphocytes" in panel.sentence
    assert len(panel.fold_aucs) == 5


def test_units_change_nothing():
    matrix, groups = planted()
    matrix = np.exp(matrix)  # the logarithms of these features are compared
    first = panels(matrix, groups, TWO, people(900, 60), LOG[:30])
    second = panels(matrix * 10.0 ** np.linspace(-6, 6, 30), groups, TWO, people(900, 60), LOG[:30])
    assert [f.feature for f in first.panels[0].features] == [f.feature for f in second.panels[0].features]
    assert first.panels[0].auc == pytest.approx(second.panels[0].auc)


def test_each_of_several_groups_gets_a_panel_against_all_others():
    matrix, groups = noise(900), np.repeat([0, 1, 2], 300)
    for group in range(3):
        matrix[groups == group, 5 + group] += 3
    found = panels(matrix, groups, ("a", "b", "c"), people(900, 45), LINEAR[:20])
    assert [(panel.group, panel.rest, panel.cells) for panel in found.panels] == [
        (g, "the others", (300, 600)) for g in "abc"
    ]
    for group, panel in enumerate(found.panels):
        assert LINEAR[5 + group] in [feature.feature for feature in panel.features]
        assert panel.auc > 0.9


def test_never_more_features_than_a_person_reads():
    matrix, groups = noise(3000, 9), np.repeat([0, 1], 1500)
    matrix += 0.6 * groups[:, None]
    panel = panels(matrix, groups, TWO, people(3000, 80), LINEAR[:9]).panels[0]
    assert len(panel.features) == MOST_FEATURES


def test_absent_values_count_as_the_middle_and_cells_of_no_group_not_at_all():
    matrix, groups = planted()
    rng = np.random.default_rng(3)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 20] = np.nan
    groups[rng.random(900) < 0.2] = -1
    found = panels(matrix, groups, TWO, people(900, 60), LINEAR[:30])
    assert found.n == found.of == int((groups >= 0).sum())
    assert found.panels[0].auc > 0.85
    assert LINEAR[20] not in [feature.feature for feature in found.panels[0].features]


def test_the_same_seed_gives_the_same_panels():
    matrix, groups = planted()
    assert panels(matrix, groups, TWO, people(900, 60), LINEAR[:30], seed=4) == panels(
        matrix, groups, TWO, people(900, 60), LINEAR[:30], seed=4
    )


# --- rules ---


def test_rules_read_as_sentences_in_the_units_of_the_pages():
    area, groups = np.exp(noise(400, 1) * 0.1 + np.log(80.0)), np.repeat([0, 1], 200)
    area[groups == 0] *= 3
    found = panels(area, groups, TWO, people(400, 40), ["nucleus_shape2D_PixelSurface"]).panels[0]
    small, large = found.rules
    assert small.sentence.startswith("Nucleus area at most ")
    assert "µm²: 200 of 200 cells are lymphocytes." in small.sentence
    assert (large.group, large.n, large.right) == ("monocytes", 200, 200)
    assert found.balanced_accuracy > 0.97
    assert "this alone tells monocytes" in found.sentence


def test_rules_cover_every_cell_once_and_count_what_they_say():
    matrix, groups = planted()
    rules = panels(matrix, groups, TWO, people(900, 60), LINEAR[:30]).panels[0].rules
    assert sum(rule.n for rule in rules) == 900
    assert 2 <= len(rules) <= 4
    assert {rule.group for rule in rules} == set(TWO)
    assert all(rule.n / 2 < rule.right <= rule.n for rule in rules)


# --- refusals, numbers ---


def test_too_few_groups_or_patients_are_refused_in_words():
    with pytest.raises(UsageError, match="at least two groups"):
        panels(noise(), np.zeros(600, dtype=int), ("monocytes",), people(600, 10), LINEAR[:20])
    with pytest.raises(UsageError, match="lymphocytes has 2"):
        panels(
            noise(), np.repeat([0, 1], 300), TWO, np.repeat([0, 1, 2, 3, 8, 9], [75, 75, 75, 75, 100, 200]), LINEAR[:20]
        )
    with pytest.raises(UsageError, match="none of the features varies"):
        panels(np.ones((600, 2)), np.repeat([0, 1], 300), TWO, people(600, 10), LINEAR[:2])


def test_the_auc_is_scikit_learns_ties_included():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 300).astype(float), rng.random(300) < 0.3
    assert _auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    scores[:10] = np.nan
    assert _auc(scores, positive) == pytest.approx(roc_auc_score(positive[10:], scores[10:]))


def test_the_interval_is_that_of_auc_over_resampled_patients():
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(30), 6)
    positive = units % 2 == 0
    scores = np.round(rng.normal(size=180) + rng.normal(size=30)[units] + positive, 1)
    drawn = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in rng.integers(0, 30, 30)])
        drawn.append(_auc(scores[rows], positive[rows]))
    assert _interval(scores, positive, units, 0) == pytest.approx(np.nanquantile(drawn, (0.025, 0.975)), abs=0.02)
    low, high = _interval(scores, positive, np.arange(180), 0)
    assert high - low < 0.8 * np.ptp(np.nanquantile(drawn, (0.025, 0.975))), (
        "cells drawn as if they were patients look surer"
    )


def test_the_score_test_of_the_first_feature_is_the_two_sample_z_squared():
    z, truth = noise(500, 3), np.repeat([True, False], 250)
    found = _score_test(z, truth - 0.5, np.full(500, 0.25), [])
    expected = [500 * np.corrcoef(column, truth)[0, 1] ** 2 for column in z.T]
    assert found == pytest.approx(expected)


def test_of_many_cells_a_sample_keeps_small_groups_whole():
    n = MOST_CELLS + 3000
    groups = np.where(np.arange(n) < 300, 0, 1)
    matrix = noise(n, 4)
    matrix[:300, 0] += 2
    found = panels(matrix, groups, TWO, people(n, 100), LINEAR[:4])
    assert (found.n, found.of) == (MOST_CELLS, n)
    assert found.panels[0].cells == (300, MOST_CELLS - 300)
    assert "sample of 5,000 of 8,000" in found.notes[0]


def test_a_cohort_of_every_feature_takes_seconds():
    matrix, groups = noise(4500, len(CATALOGUE)), np.repeat([0, 1], 2250)
    matrix[:, LINEAR.index(LINEAR[5])] += groups
    began = time.process_time()
    assert isinstance(panels(matrix, groups, TWO, np.full(4500, -1), list(CATALOGUE)), Panels)
    assert time.process_time() - began < 40  # about 4 on one core


# --- the shipped cohort ---


@pytest.fixture(scope="module")
def johns_hopkins():
    """Features of shape, cells of monocytes and lymphocytes of patients who are all known.

    Matrix, whether a lymphocyte, patient.
    """
    selection = Selection(populations=("monocyte_deepapl", "lymphocyte_deepapl"))
    features = comparable_features(CATALOGUE)
    with Cohort.open([load_settings().reference]) as cohort:
        found = values(cohort, selection, features, By.CELL_TYPE)
    return (
        features,
        found.matrix,
        (found.cell_type == "lymphocyte").astype(int),
        patient_codes(found.source, found.patient_id),
    )


def test_monocytes_are_told_from_lymphocytes_of_other_patients(johns_hopkins):
    features, matrix, groups, patients = johns_hopkins
    found = panels(matrix, groups, TWO, patients, features)
    assert found.patients_known
    panel = found.panels[0]
    assert panel.low > 0.88
    assert {feature.feature for feature in panel.features} & {
        "combined_Sphericity",
        "combined_PixelSurface",
        "combined_PerimeterSurfaceRatio",
    }


def test_two_random_halves_of_the_patients_of_one_population_are_not_told_apart(johns_hopkins):
    features, matrix, groups, patients = johns_hopkins
    lymphocytes = groups == 1
    aucs = []
    for seed in range(4):
        half = np.random.default_rng(seed).integers(0, 2, patients.max() + 1)[patients]
        aucs.append(
            panels(matrix[lymphocytes], half[lymphocytes], ("one", "other"), patients[lymphocytes], features)
            .panels[0]
            .auc
        )
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.08)
