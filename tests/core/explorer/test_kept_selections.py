import pytest

from core.domain.errors import SelectionError
from core.explorer.kept_selections import from_short_link, to_short_link
from core.explorer.selection import Quality, Selection, to_link

MANY = Selection(quality=Quality.ANY, cells=tuple(f"{number * 2654435761 % 2**64:016x}" for number in range(20_000)))


def test_what_an_address_holds_is_not_kept(tmp_path):
    few = Selection(cells=("a", "b"))
    assert to_short_link(tmp_path, few) == to_link(few)
    assert from_short_link(tmp_path, to_link(few)) == few
    assert not list(tmp_path.iterdir())


def test_thousands_of_cells_are_kept_once_under_a_short_name(tmp_path):
    with pytest.raises(SelectionError, match="too long for a link"):
        to_link(MANY)
    link = to_short_link(tmp_path, MANY)
    assert len(link) < 30
    assert from_short_link(tmp_path, link) == MANY
    assert to_short_link(tmp_path, MANY) == link
    assert len(list((tmp_path / "selections").iterdir())) == 1
    assert to_short_link(tmp_path, Selection(cells=MANY.cells)) != link


def test_a_name_from_another_server_or_a_changed_file_is_told(tmp_path):
    link = to_short_link(tmp_path, MANY)
    for stranger in ("kept.0123456789abcdef", "kept.../../secret", "kept."):
        with pytest.raises(SelectionError, match="not kept here"):
            from_short_link(tmp_path, stranger)
    (kept,) = (tmp_path / "selections").iterdir()
    kept.write_text(kept.read_text().replace(MANY.cells[1], MANY.cells[1][::-1]))
    with pytest.raises(SelectionError, match="were changed"):
        from_short_link(tmp_path, link)
