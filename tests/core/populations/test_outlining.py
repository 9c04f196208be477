from dataclasses import replace

import pytest

from core.domain.types import DrawnBy
from core.domain.versions import MODEL_FILE
from core.populations.outlining import OutlineModel, Outlining, model_note
from core.populations.placement import models_beside, place_cell

OURS, THEIRS = OutlineModel("ours"), OutlineModel("theirs")


def test_one_model_on_all_sides_says_nothing():
    assert model_note([]) is None
    assert model_note([("this cell", Outlining({OURS: 1})), ("Monocytes", Outlining({OURS: 20}))]) is None


def test_another_model_is_named_with_its_side_and_what_to_do():
    note = model_note([("this cell", Outlining({OURS: 1})), ("Monocytes", Outlining({THEIRS: 20}))])
    assert note.startswith("The outlines are not all by one model: ours (this cell), theirs (Monocytes). ")
    assert "`leukoscope cohort rebuild`" in note
    assert "`leukoscope cohort build`" in note


def test_a_part_of_a_population_is_counted():
    mixed = Outlining({OURS: 976, THEIRS: 1024})
    note = model_note([("this cell", Outlining({OURS: 1})), ("Monocytes", mixed)])
    assert "ours (this cell; Monocytes: 976 of 2,000 cells), theirs (Monocytes: 1,024 of 2,000 cells)" in note


def test_of_many_populations_three_are_named():
    sides = [("this cell", Outlining({OURS: 1})), *((f"P{number}", Outlining({THEIRS: 1})) for number in range(5))]
    assert "theirs (P0; P1; P2 and 2 more)" in model_note(sides)


def test_drawn_cells_are_no_models_and_cells_of_no_recorded_model_are_told():
    drawn = Outlining({OURS: 18}, by_person=2)
    assert drawn.n == 20
    assert model_note([("this cell", Outlining(by_person=1)), ("Monocytes", drawn)]) is None
    note = model_note([("this cell", Outlining({OURS: 1})), ("A table", Outlining(unknown=3))])
    assert "ours (this cell), a model that is not recorded (A table)" in note
    assert model_note([("A table", Outlining(unknown=3))]) is None


def test_a_retrained_file_under_the_same_id_is_another_model_where_both_files_are_known():
    old, new = OutlineModel("ours", "a" * 64), OutlineModel("ours", "b" * 64)
    note = model_note([("this cell", Outlining({new: 1})), ("Monocytes", Outlining({old: 20}))])
    assert "ours, file bbbbbbbb (this cell), ours, file aaaaaaaa (Monocytes)" in note
    assert model_note([("this cell", Outlining({new: 1})), ("Monocytes", Outlining({OURS: 20}))]) is None
    # One of an unknown file hides no difference between two others.
    assert model_note([("this cell", Outlining({OURS: 1})), ("A", Outlining({old: 1})), ("B", Outlining({new: 1}))])


def test_stored_cells_are_counted_by_model_and_file():
    rows = [
        ("ours", f'{{"{MODEL_FILE}": "aa"}}', None, 5),
        ("ours", f'{{"{MODEL_FILE}": "aa", "python": "3.12"}}', None, 2),
        ("ours", None, None, 1),
        ("ours", "no JSON", None, 1),
        ("ours", None, "person", 3),
        (None, None, None, 4),
    ]
    assert Outlining.of_rows(rows) == Outlining({OutlineModel("ours", "aa"): 7, OURS: 2}, by_person=3, unknown=4)


@pytest.mark.parametrize("by_person", [False, True])
def test_a_cell_beside_populations_says_it_once_for_all_and_beside_each(cell, references, by_person):
    by_other = replace(cell.segmentation, model_id="new", drawn_by=DrawnBy.PERSON if by_person else DrawnBy.MODEL)
    assert models_beside(cell, references) is None
    assert {placed.model_note for placed in place_cell(cell, references)} == {None}
    other = replace(cell, segmentation=by_other)
    placed = place_cell(other, references)
    if by_person:
        assert {each.model_note for each in placed} == {models_beside(other, references)} == {None}
        return
    assert "new (this cell), true-mask (" in models_beside(other, references)
    for each in placed:
        assert (each.model_note is None) == each.reference.published
        if each.model_note:
            assert f"new (this cell), true-mask ({each.reference.title})" in each.model_note
