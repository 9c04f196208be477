"""The tables of laboratories: how much of a difference is theirs, and how well calibrating mends it."""

import pytest

from core.domain.cell_types import CellType
from core.explorer import laboratory_effect
from core.explorer.laboratory_effect import family_effects, source_kinds, tables
from core.features.spec import Family
from tests.laboratories import BARCELONA, JOHNS_HOPKINS

TONES = (Family.TONE, Family.STAIN, Family.COLOUR, Family.TEXTURE)


@pytest.fixture(scope="module")
def effects(shipped):
    return {each.family: each for each in family_effects(shipped, JOHNS_HOPKINS, BARCELONA)}


def test_calibrating_brings_the_laboratorys_effect_down_and_less_so_in_a_kind_left_out(effects):
    for family in TONES:
        for kind in effects[family].kinds:
            assert kind.calibrated < kind.held_out < kind.raw
            assert kind.calibrated < 0.3
            assert kind.raw > 0.4
            assert kind.held_out_close > kind.raw_close


def test_two_halves_of_one_laboratory_stay_at_the_floor(effects):
    """The published floor is 0.06 to 0.11; of quarter as many patients a little more."""
    for family in TONES:
        assert 0.04 < effects[family].floor < 0.15


def test_of_what_closes_less_than_a_third_lies_apart_on_the_other_half(effects):
    closing = sum(effects[family].closing for family in TONES)
    apart = sum(effects[family].closing * (effects[family].false or 0) for family in TONES)
    assert closing > 5
    assert apart / closing < 0.3
    assert effects[Family.GRANULARITY].closing < 1
    assert effects[Family.SIZE].closing is None
    assert effects[Family.SIZE].kinds[0].calibrated is None


def test_the_tables_name_sources_pairs_and_kinds(shipped, monkeypatch):
    monkeypatch.setattr(laboratory_effect, "SPLITS", 1)
    found = tables(shipped)
    kinds = {each.source: each.cells for each in found.sources}
    assert kinds[BARCELONA] == {CellType.MONOCYTE: 935, CellType.LYMPHOCYTE: 992, CellType.PROMYELOCYTE: 584}
    assert [(pair.source, pair.reference) for pair in found.pairs] == [(JOHNS_HOPKINS, BARCELONA)]
    assert [(each.first, each.second) for each in found.apart] == [(CellType.MONOCYTE, CellType.LYMPHOCYTE)]
    assert set(found.apart[0].sources) == {BARCELONA, JOHNS_HOPKINS}
    assert source_kinds(shipped) == found.sources
