import re

from core.domain.cell_types import CELL_TYPES, CellType


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
