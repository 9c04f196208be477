"""Contrasts inside each laboratory: made data of known truth, and the shipped cohort."""

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.explorer.contrasts import (
    CLEAR,
    FEWEST_CELLS,
    Contrasts,
    SourceSides,
    contrast,
    sides_by_source,
)
from core.explorer.laboratory_effect import source_kinds
from core.explorer.selection import Selection
from core.explorer.view import By
from core.features.spec import Family
from core.populations.contrast import Contrast
from core.populations.dominance import Dominance
from core.store.database import Cohort
from core.store.shards import write_population
from tests.core.explorer.conftest import LYMPHO, MONO, OTHER_SCALE, spread_rows
from tests.core.store.conftest import AREA, make_population
from tests.laboratories import BARCELONA, JOHNS_HOPKINS

SIDES = [["monocyte"], ["lymphocyte"]]
NAMES = ("monocyte", "lymphocyte")


@pytest.fixture(scope="module")
def found(shipped) -> Contrasts:
    return contrast(shipped, Selection(), By.CELL_TYPE, SIDES, NAMES)


def told(delta: float, error: float = 0.05) -> Dominance:
    return Dominance(delta, error, (50, 50))


def test_both_laboratories_take_part_with_their_cells_and_patients(found):
    assert [(each.source, each.n, each.patients) for each in found.sources] == [
        (BARCELONA, (935, 992), None),
        (JOHNS_HOPKINS, (357, 632), (58, 69)),
    ]
    assert found.too_few == ()
    assert found.refused == {}


def test_what_holds_everywhere_comes_first_and_is_the_least_of_the_differences(found):
    smallest = [each.smallest for each in found.contrasts]
    assert smallest == sorted(smallest, reverse=True)
    area = found.by_feature["cell_shape2D_PixelSurface"]
    assert area.smallest == min(abs(each.delta) for each in area.by_source.values()) > 0.9
    assert area.low <= area.pooled <= area.high
    fine = found.by_feature["cytoplasm_granularity_Fine"]
    assert not fine.same_sign
    assert fine.smallest == 0


def test_the_laboratories_agree_in_tone_stain_colour_and_texture_but_not_in_granularity(found):
    """The published finding on this cohort (docs/laboratories.md), regenerated."""
    agree = {each.family: each for each in found.agreement()}
    for family in (Family.TONE, Family.COLOUR, Family.TEXTURE, Family.SHAPE):
        assert agree[family].rank > 0.8
        assert agree[family].same_sign > 0.85
    assert agree[Family.STAIN].rank > 0.65
    assert agree[Family.SIZE].clear == agree[Family.SIZE].features == 21
    assert agree[Family.GRANULARITY].rank < 0.7


def test_agreement_counts_strong_features_of_one_sign():
    contrasts = (
        Contrast("nucleus_firstorder_Mean", {"a": told(0.9), "b": told(0.4)}),
        Contrast("nucleus_firstorder_Median", {"a": told(0.7), "b": told(-0.1)}),
        Contrast("nucleus_firstorder_Entropy", {"a": told(0.2), "b": told(-0.2)}),
    )
    made = Contrasts(NAMES, tuple(SourceSides(name, (50, 50), None) for name in "ab"), (), contrasts, {})
    (tone,) = made.agreement()
    assert (tone.family, tone.features, tone.strong, tone.same_sign, tone.clear) == (Family.TONE, 3, 2, 0.5, 1)
    assert tone.rank == pytest.approx(1.0)
    assert made.contrasts[0].smallest > CLEAR


def test_a_source_without_cells_enough_is_named_and_takes_no_part(small):
    there = sides_by_source(small, Selection(), By.POPULATION, [[MONO], [LYMPHO]])
    assert [(each.source, each.n, each.enough) for each in there] == [("A", (58, 38), True)]
    # Two populations of different sources share none.
    assert sides_by_source(small, Selection(), By.POPULATION, [[MONO], [OTHER_SCALE]]) == ()
    with pytest.raises(UsageError, match=f"no source has {FEWEST_CELLS} cells of monocytes and of hairy cells"):
        contrast(small, Selection(), By.CELL_TYPE, [["monocyte"], ["hcl"]], ("monocytes", "hairy cells"))
    alone = contrast(small, Selection(), By.CELL_TYPE, SIDES, NAMES)
    assert alone.by_feature[AREA].pooled is None
    assert alone.by_feature[AREA].by_source["A"].n == (57, 37)


def test_a_source_whose_name_no_filter_can_hold_takes_no_part(tmp_path):
    rng = np.random.default_rng(1)
    for name, kind in (("mono", CellType.MONOCYTE), ("lympho", CellType.LYMPHOCYTE)):
        population = make_population(name, cell_type=kind, um_per_px=0.1, source="line\nbreak")
        write_population(tmp_path, population, [spread_rows(population, 20, rng)])
    with Cohort.open([tmp_path]) as cohort:
        assert sides_by_source(cohort, Selection(), By.CELL_TYPE, SIDES) == ()
        assert source_kinds(cohort) == ()


def test_only_two_kinds_are_set_apart(small):
    with pytest.raises(UsageError, match="name two"):
        contrast(small, Selection(), By.CELL_TYPE, [["monocyte"]], ("monocytes",))


def test_the_table_has_a_column_a_source(found):
    frame = found.to_frame()
    row = frame.set_index("feature").loc["cell_shape2D_PixelSurface"]
    assert row[f"n monocyte {BARCELONA}"] == 935
    assert row[f"low {JOHNS_HOPKINS}"] <= row[f"delta {JOHNS_HOPKINS}"] <= row[f"high {JOHNS_HOPKINS}"]
    assert row["family"] == "size"
    assert len(frame) == len(found.contrasts)
