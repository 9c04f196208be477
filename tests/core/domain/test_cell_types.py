import re

import pytest

from core.domain.cell_types import CELL_TYPES, CellType, named_cell_type


def test_every_cell_type_is_described_in_order():
    assert list(CELL_TYPES) == list(CellType)


def test_names_and_colours_tell_types_apart():
    for field in ("name", "plural", "short", "colour"):
        assert len({getattr(info, field).lower() for info in CELL_TYPES.values()}) == len(CELL_TYPES), field
    assert all(re.fullmatch("#[0-9A-F]{6}", info.colour) for info in CELL_TYPES.values())


def test_descriptions_are_sentences():
    assert all(info.description.endswith(".") for info in CELL_TYPES.values())


def test_granulocytes_and_platelets_are_not_mononuclear():
    others = {kind for kind, info in CELL_TYPES.items() if not info.mononuclear}
    assert {CellType.NEUTROPHIL, CellType.EOSINOPHIL, CellType.BASOPHIL, CellType.PLATELET} <= others
    assert not others & {CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL, CellType.APL}


def test_every_cell_type_goes_by_all_that_pages_call_it():
    for kind, info in CELL_TYPES.items():
        for name in (kind, info.name, info.plural, info.short, info.name.upper(), f" {info.plural} "):
            assert named_cell_type(name) is kind, name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Hairy cell", CellType.HCL),
        ("hairy-cell leukaemia", CellType.HCL),
        ("HCL cells", CellType.HCL),
        ("Monocytes", CellType.MONOCYTE),
        ("MO", CellType.MONOCYTE),
        ("lymph", CellType.LYMPHOCYTE),
        ("Eos", CellType.EOSINOPHIL),
        ("AML-M3", CellType.APL),
        ("Band neutrophils", CellType.NEUTROPHIL),
        ("blast cells", CellType.BLAST),
        ("others", CellType.OTHER),
        ("smudge cell", None),
        ("cell", None),
        ("", None),
    ],
)
def test_a_cell_type_is_known_by_its_other_names(name, kind):
    assert named_cell_type(name) is kind
