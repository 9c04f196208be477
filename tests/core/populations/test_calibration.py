"""Calibration of laboratories: a known shift is found and removed, and what it cannot mend is refused in words."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE
from core.populations.calibration import (
    CLOSE,
    FAR,
    LaboratoryCells,
    calibratable,
    fit_calibration,
    laboratory_effects,
    shared_kinds,
)

TONE, LOGGED, COUNT = "nucleus_firstorder_Mean", "nucleus_firstorder_Variance", "cytoplasm_vacuoles_Count"
AREA, RATIO, TEXTURE = "cell_shape2D_PixelSurface", "combined_PixelSurface", "nucleus_glcm_Contrast"
FEATURES = (TONE, LOGGED, COUNT, AREA, RATIO, TEXTURE)
MONO, LYMPHO, APL = CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.APL


def cells(
    source: str,
    seed: int,
    *,
    tone: dict[CellType, float] | float = 0.0,
    factor: float = 1.0,
    n: dict[CellType, int] | None = None,
    patients: int = 20,
    scales: tuple[float, float] | None = (0.1, 0.1),
) -> LaboratoryCells:
    """Cells of a laboratory: monocytes are darker by 30 than lymphocytes, the laboratory adds `tone` to both."""
    rng = np.random.default_rng(seed)
    many = n or {MONO: 200, LYMPHO: 200}
    kinds = np.repeat(list(many), list(many.values()))
    count = len(kinds)
    shift = np.array([tone[kind] if isinstance(tone, dict) else tone for kind in kinds])
    columns = {
        TONE: 150 - 30 * (kinds == MONO) + shift + rng.normal(0, 10, count),
        LOGGED: factor * np.exp(rng.normal(3, 0.3, count) + 0.5 * (kinds == MONO)),
        COUNT: rng.poisson(0.3, count).astype(float),
        AREA: np.exp(rng.normal(7, 0.2, count)),
        RATIO: rng.uniform(0.3, 0.9, count),
        TEXTURE: factor * np.exp(rng.normal(1, 0.3, count)),
    }
    people = np.arange(count) % patients if patients else np.full(count, -1)
    matrix = np.stack([columns[name] for name in FEATURES], axis=1)
    return LaboratoryCells(source, FEATURES, matrix, kinds.astype(object), people, scales)


def test_a_known_shift_is_found_and_removed():
    many = {"n": {MONO: 600, LYMPHO: 600}, "patients": 100}
    made = fit_calibration("ours", cells("ours", 1, tone=12.0, factor=1.5, **many), cells("reference", 2, **many))
    assert made.shifts[TONE].shift == pytest.approx(-12, abs=2)
    assert made.shifts[LOGGED].shift == pytest.approx(-np.log(1.5), abs=0.06)
    # It holds for each kind though it was made of the other.
    for name in (TONE, LOGGED, TEXTURE):
        assert made.shifts[name].closes
        for left in made.shifts[name].left_out:
            assert abs(left.raw) > 0.5
            assert abs(left.delta) < CLOSE
            assert left.low <= left.delta <= left.high
            assert max(abs(left.low), abs(left.high)) < FAR
    unseen = cells("ours", 3, tone=12.0, factor=1.5)
    right = cells("reference", 4)
    after = made.applied(TONE, unseen.matrix[:, 0])
    assert np.median(after) == pytest.approx(np.median(right.matrix[:, 0]), abs=2)
    assert made.applied(LOGGED, np.array([3.0])) == pytest.approx(3 * np.exp(made.shifts[LOGGED].shift))
    assert "one shift a feature" in made.sentence
    assert made.refusal(TONE) is None


def test_order_inside_the_laboratory_stays():
    ours = cells("ours", 1, tone=12.0, factor=1.5)
    made = fit_calibration("ours", ours, cells("reference", 2))
    for name, shift in made.shifts.items():
        column = ours.matrix[:, FEATURES.index(name)]
        assert shift.shift != 0
        assert (rankdata(made.applied(name, column)) == rankdata(column)).all()


def test_a_laboratory_set_to_its_own_cells_is_not_moved():
    ours = cells("ours", 1)
    made = fit_calibration("same", ours, replace(ours, source="the same cells by another name"))
    assert {shift.shift for shift in made.shifts.values()} == {0.0}
    assert all(left.delta == 0 for shift in made.shifts.values() for left in shift.left_out)


def test_a_shift_that_differs_by_kind_does_not_close():
    made = fit_calibration("ours", cells("ours", 1, tone={MONO: 15.0, LYMPHO: -5.0}), cells("reference", 2))
    assert not made.shifts[TONE].closes
    assert TONE not in made.closing
    assert "does not close: monocytes left out differ by +" in made.refusal(TONE)


def test_what_no_stain_shifts_is_not_calibrated():
    made = fit_calibration("ours", cells("ours", 1), cells("reference", 2))
    assert set(made.shifts) == {TONE, LOGGED, TEXTURE}
    for name, words in ((COUNT, "a count"), (AREA, "the scale"), (RATIO, "does not depend on the stain")):
        assert words in made.refusal(name)
    assert "beside the cell" in calibratable(CATALOGUE["environment_firstorder_Mean"])
    other = fit_calibration("ours", cells("ours", 1, scales=(0.2, 0.2)), cells("reference", 2))
    assert "size of the pixels" in other.refusal(TEXTURE)
    assert "size of the pixels" in fit_calibration("o", cells("o", 1, scales=None), cells("r", 2)).refusal(TEXTURE)
    flat = cells("ours", 1)
    flat.matrix[:60, 0] = 255.0
    assert "same value" in fit_calibration("ours", flat, cells("reference", 2)).refusal(TONE)
    assert "made without it" in made.refusal("nucleus_firstorder_Median")


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ({APL: 200}, {CellType.PROMYELOCYTE: 200}, "share no kind of cells"),
        (
            {MONO: 200, LYMPHO: 4},
            {MONO: 4, LYMPHO: 200},
            "share too few cells of a kind \\(monocytes 4, lymphocytes 4\\)",
        ),
        (
            {MONO: 200, LYMPHO: 4},
            {MONO: 200, LYMPHO: 200},
            "share only monocytes in sufficient number \\(lymphocytes 4\\)",
        ),
        ({MONO: 200}, {MONO: 200, LYMPHO: 200}, "equal by construction"),
        ({CellType.OTHER: 200, MONO: 50}, {CellType.OTHER: 200, MONO: 50}, "share only monocytes"),
    ],
)
def test_laboratories_that_share_too_little_are_refused(ours, theirs, words):
    with pytest.raises(UsageError, match=words):
        fit_calibration("ours", cells("ours", 1, n=ours), cells("reference", 2, n=theirs))


def test_one_source_is_not_calibrated_to_itself_and_kinds_may_be_chosen():
    with pytest.raises(UsageError, match="both are ours"):
        fit_calibration("ours", cells("ours", 1), cells("ours", 2))
    both = cells("ours", 1), cells("reference", 2)
    assert [anchor.cell_type for anchor in shared_kinds(*both)] == [MONO, LYMPHO]
    with pytest.raises(UsageError, match="share only lymphocytes"):
        shared_kinds(*both, [LYMPHO])


def test_few_cells_and_patients_are_warned_of():
    few = {MONO: 25, LYMPHO: 100}
    told = fit_calibration("ours", cells("ours", 1, n=few, patients=4), cells("reference", 2, patients=0)).warnings
    assert any("only 25 monocytes; 40 are better" in text for text in told)
    assert any("lymphocytes are of 4 patients" in text for text in told)
    assert any("Not all monocytes name their patient" in text for text in told)
    assert fit_calibration("ours", cells("ours", 1), cells("reference", 2)).warnings == ()


def test_intervals_are_of_patients_where_they_are_known():
    """Cells of four patients, each with a tone of its own, know less than cells of four hundred."""
    few, many = cells("ours", 1, patients=4), cells("ours", 1, patients=400)
    few.matrix[:, 0] += 8 * np.array([-1.0, 0.0, 0.0, 1.0])[few.patients]
    wide, narrow = (fit_calibration("o", ours, cells("r", 2)).shifts[TONE].left_out[0] for ours in (few, many))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_effects_are_read_on_cells_that_no_shift_was_found_in():
    fitted = cells("reference", 2), cells("ours", 1, tone={MONO: 20.0, LYMPHO: 0.0})
    read = cells("reference", 4), cells("ours", 3, tone={MONO: 20.0, LYMPHO: 0.0})
    mono, lympho = laboratory_effects([TONE, LOGGED], fitted, read, [MONO, LYMPHO])
    assert mono.raw[0] > 0.8
    assert abs(lympho.raw[0]) < 0.15
    assert 0.3 < mono.calibrated[0] < mono.raw[0]  # half of the difference between the kinds is left
    assert mono.held_out[0] == pytest.approx(mono.raw[0], abs=0.1)  # lymphocytes tell nothing of it
    assert lympho.held_out[0] < -0.8  # monocytes tell something wrong
    assert abs(mono.held_out[1]) < 0.3  # no laboratory is in it, but chance of 200 cells
