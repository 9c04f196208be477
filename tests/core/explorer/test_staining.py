"""Stain factors of a source: found where they are known, and what they do to real cells."""

from dataclasses import replace
from functools import partial

import pytest

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.domain.settings import load_settings
from core.explorer.cells import picture
from core.explorer.staining import stain_effect, stain_factors
from core.features.spec import STAINED, Family
from core.store.database import Cohort
from core.store.schema import cell_row
from core.store.shards import write_population
from tests.core.store.conftest import make_analysis, make_population
from tests.laboratories import BARCELONA, JOHNS_HOPKINS
from tests.stained import CELLS, OURS, THEIRS, TRUE, write_stained


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    """A cohort of two sources, and what finds the pictures of its cells."""
    root = tmp_path_factory.mktemp("stained")
    images = write_stained(root / "cohort", root / "pictures")
    with Cohort.open([root / "cohort"]) as cohort:
        yield cohort, lambda cell: images.get(cell.image_path)


def test_the_true_factors_are_found_again(stained):
    cohort, find_picture = stained
    made = stain_factors(cohort, "x", OURS, THEIRS, find_picture)
    assert made.factors.channels == pytest.approx(TRUE.channels, rel=0.05)
    assert (made.source, made.reference, made.cell_type) == (OURS, THEIRS, CellType.LYMPHOCYTE)
    assert made.cells == (CELLS, CELLS)
    assert made.created
    again = stain_factors(cohort, "x", OURS, THEIRS, find_picture)
    assert again.factors == made.factors


def test_cells_are_spread_over_patients(stained):
    cohort, find_picture = stained
    seen = []

    def tell(cell):
        seen.append(cell.patient_id)
        return find_picture(cell)

    stain_factors(cohort, "x", OURS, THEIRS, tell, most=20)
    assert {seen[start : start + 5].count(f"p{start % 5}") for start in range(0, 20, 5)} == {1}


def test_the_effect_is_told_by_family_and_kind_and_gets_better(stained):
    cohort, find_picture = stained
    made = stain_factors(cohort, "x", OURS, THEIRS, find_picture)
    told = []
    effects = stain_effect(cohort, made, find_picture, 20, progress=lambda *progress: told.append(progress))
    assert told == [(1, 2), (2, 2)]
    assert [effect.family for effect in effects] == [*STAINED, *STAINED]
    for effect in effects:
        assert effect.cells == (20, 20)
        assert effect.unseen == (effect.cell_type is CellType.MONOCYTE)
        if effect.family is Family.TONE:
            assert effect.raw > 0.25
            assert effect.restained < 0.15


@pytest.mark.parametrize(
    ("source", "reference", "words"),
    [
        (OURS, OURS, "both are ours; name two"),
        (OURS, "nowhere", r"nowhere has 0 \(of 0 good lymphocytes"),
        ("nowhere", THEIRS, "nowhere has 0"),
    ],
)
def test_sources_that_tell_no_factors_are_refused(stained, source, reference, words):
    with pytest.raises(UsageError, match=words):
        stain_factors(stained[0], "x", source, reference, stained[1])


def test_pictures_that_are_not_at_hand_are_counted_and_asked_for(stained):
    cohort, find_picture = stained

    def some(cell):
        return find_picture(cell) if cell.source == THEIRS or cell.patient_id != "p0" else None

    with pytest.raises(
        UsageError, match=rf"ours has 19 \(of {CELLS} good lymphocytes in the cohort\); give the folders"
    ):
        stain_factors(cohort, "x", OURS, THEIRS, some)
    made = stain_factors(cohort, "x", OURS, THEIRS, find_picture)
    with pytest.raises(UsageError, match="at least 20 monocytes of each source, but ours has 19 with a picture"):
        stain_effect(cohort, made, some, kinds=[CellType.MONOCYTE])
    with pytest.raises(UsageError, match="but 10 were asked for"):
        stain_effect(cohort, made, find_picture, 10)


def test_a_reference_that_was_measured_with_factors_itself_is_refused(stained, tmp_path):
    population = make_population("set", source="set before")
    analysis = make_analysis()
    image = replace(analysis.image, stain=TRUE)
    write_population(tmp_path, population, [[cell_row(replace(analysis, image=image), population, outlines={})]])
    with (
        Cohort.open([tmp_path]) as cohort,
        pytest.raises(UsageError, match=r"set before has cells measured with stain factors \(ours-to-theirs 0\.7"),
    ):
        stain_factors(cohort, "x", OURS, "set before", stained[1])


@pytest.mark.data
def test_on_real_cells_the_tone_of_both_kinds_comes_closer(data_dir, shipped):
    find_picture = partial(picture, settings=load_settings())
    made = stain_factors(shipped, "jh-to-bcn", JOHNS_HOPKINS, BARCELONA, find_picture)
    assert made.cells == (100, 100)
    tone = [each for each in stain_effect(shipped, made, find_picture, 40) if each.family is Family.TONE]
    assert [each.cell_type for each in tone] == [CellType.MONOCYTE, CellType.LYMPHOCYTE]
    for effect in tone:
        assert effect.unseen
        assert effect.restained < effect.raw - 0.05
