import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.errors import StoreError
from core.store import queries
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.edits import annotate, exclude, history, log, relabel, take_back
from core.store.export import to_parquet
from core.store.shards import write_population
from tests.core.store.conftest import AREA, make_population, make_rows


def files_of(folder) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def roots(root, tmp_path):
    """A shipped population of three cells, and an empty root of the user's own."""
    shipped = tmp_path / "reference"
    write_population(shipped, make_population(), [make_rows(make_population(), [1, 2, 3], patient="p1")], shipped=True)
    return [shipped, root]


@pytest.fixture
def cohort(roots):
    with Cohort.open(roots) as opened:
        yield opened


@pytest.fixture
def ids(cohort) -> list[str]:
    return queries.cells(cohort, "mono")["cell_id"].tolist()


def column(cohort, name: str) -> list:
    values = cohort.query(f"SELECT {name} FROM cells ORDER BY image_path")[name].astype(object)
    return values.where(values.notna(), None).tolist()


def test_a_relabelled_cell_shows_the_new_label_and_its_shard_the_old(cohort, ids, roots):
    before = files_of(roots[0])
    assert relabel(cohort, ids[:2], Field.CELL_TYPE, "lymphocyte", who="Reader") == 2
    relabel(cohort, ids[2:], Field.PATIENT_ID, "p2", who="Reader")
    relabel(cohort, ids[2:], Field.DIAGNOSIS, "AML", who="Reader")
    assert column(cohort, "cell_type") == ["lymphocyte", "lymphocyte", "monocyte"]
    assert column(cohort, "patient_id") == ["p1", "p1", "p2"]
    assert column(cohort, "diagnosis") == [None, None, "AML"]
    assert column(cohort, "quality_ok") == [True] * 3
    assert files_of(roots[0]) == before
    assert [path.name for path in roots[1].iterdir()] == ["edits.jsonl"]


def test_an_excluded_cell_leaves_every_summary_and_says_why(cohort, ids):
    assert exclude(cohort, ids[:1], "two cells in one outline", who="Reader") == 1
    assert column(cohort, "quality_ok") == [False, True, True]
    assert column(cohort, "excluded_reason") == ["two cells in one outline", None, None]
    assert [list(flags) for flags in column(cohort, "severe_flags")] == [["excluded"], [], []]
    assert [list(flags) for flags in column(cohort, "quality_flags")] == [["excluded"], [], []]
    (info,) = queries.populations(cohort)
    assert (info.n, info.n_good, info.excluded) == (3, 2, {"excluded": 1})
    assert queries.values(cohort, "mono", [AREA])[AREA].tolist() == [2, 3]
    assert take_back(cohort, ids, Field.EXCLUDED_REASON, who="Other") == 1
    assert column(cohort, "quality_ok") == [True] * 3


def test_a_note_is_replaced_and_taken_back(cohort, ids):
    annotate(cohort, ids[:1], "  Auer rod?\nSee again.  ", who="Reader")
    annotate(cohort, ids[:1], "Auer rod", who="Reader")
    assert column(cohort, "note") == ["Auer rod", None, None]
    take_back(cohort, ids[:1], Field.NOTE, who="Reader")
    assert column(cohort, "note") == [None] * 3


def test_the_history_tells_who_when_and_both_values(cohort, ids):
    assert history(cohort, ids[0]) == ()
    relabel(cohort, ids[:2], Field.CELL_TYPE, "apl", who="Anna")
    relabel(cohort, ids[:1], Field.CELL_TYPE, "hcl", who="Bert")
    take_back(cohort, ids[:1], Field.CELL_TYPE, who="Anna")
    found = history(cohort, ids[0])
    assert [(change.who, change.field, change.old, change.new, change.restored) for change in found] == [
        ("Anna", "cell_type", "monocyte", "apl", False),
        ("Bert", "cell_type", "apl", "hcl", False),
        ("Anna", "cell_type", "hcl", "monocyte", True),
    ]
    assert timedelta() <= datetime.now(UTC) - found[0].when < timedelta(minutes=1)
    assert [change.new for change in history(cohort, ids[1])] == ["apl"]
    assert column(cohort, "cell_type") == ["monocyte", "apl", "monocyte"]


def test_what_is_so_already_is_no_edit(cohort, ids):
    assert relabel(cohort, ids, Field.CELL_TYPE, "monocyte", who="Reader") == 0
    assert take_back(cohort, ids, Field.NOTE, who="Reader") == 0
    assert log(cohort) == ()


def test_an_edit_changes_the_revision_and_another_session_sees_it(cohort, ids, roots):
    before = cohort.revision
    with Cohort.open(roots) as other:
        annotate(other, ids[:1], "seen", who="Reader")
    assert cohort.revision != before
    assert column(cohort, "note") == ["seen", None, None]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda c, ids: relabel(c, ids, Field.CELL_TYPE, "monocytes", who="R"),
            "'monocytes' is no cell type; there are",
        ),
        (lambda c, ids: relabel(c, ids, Field.NOTE, "x", who="R"), "relabelled in cell_type, patient_id, diagnosis"),
        (lambda c, ids: annotate(c, ids, " ", who="R"), "the note must be 1 to 2000 characters"),
        (lambda c, ids: annotate(c, ids, "x" * 2001, who="R"), "the note must be 1 to 2000 characters"),
        (lambda c, ids: exclude(c, ids, "a\x00b", who="R"), "the excluded reason must be 1 to 2000 characters"),
        (lambda c, ids: annotate(c, ids, "x", who=""), "name of who makes the edit"),
        (lambda c, ids: annotate(c, [*ids, "a", "b", "c", "d"], "x", who="R"), "no cells a, b, c and 1 more"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_words(cohort, ids, edit, words):
    with pytest.raises(StoreError, match=words):
        edit(cohort, ids)
    assert log(cohort) == ()


def test_without_a_root_of_ones_own_nothing_is_edited(roots, ids):
    with Cohort.open(roots[:1]) as cohort, pytest.raises(StoreError, match="LEUKOSCOPE_COHORT"):
        annotate(cohort, ids, "x", who="Reader")
    assert [path.name for path in roots[0].iterdir()] == ["mono"]


def test_sessions_that_edit_at_once_lose_nothing(roots, ids):
    def session(name: str) -> None:
        with Cohort.open(roots) as cohort:
            for number in range(10):
                relabel(cohort, ids[:1], Field.PATIENT_ID, f"{name}{number}", who=name)

    sessions = [threading.Thread(target=session, args=(name,)) for name in "ab"]
    for thread in sessions:
        thread.start()
    for thread in sessions:
        thread.join()
    with Cohort.open(roots) as cohort:
        found = history(cohort, ids[0])
    assert len(found) == 20
    # Each edit knew the value that the one before had set, whoever made it.
    assert [change.old for change in found] == ["p1", *(change.new for change in found[:-1])]


def test_a_damaged_line_is_told_and_the_other_edits_hold(cohort, ids, roots):
    annotate(cohort, ids[:1], "first", who="Reader")
    with (roots[1] / "edits.jsonl").open("ab") as file:
        file.write(b'{"when": "2026-11')
    assert column(cohort, "note") == ["first", None, None]
    (problem,) = cohort.problems
    assert "line 2 is damaged" in str(problem)
    annotate(cohort, ids[1:2], "second", who="Reader")
    assert column(cohort, "note") == ["first", "second", None]


def test_what_was_added_is_taken_away_too(cohort, ids, tmp_path):
    annotate(cohort, ids[:1], "seen", who="Reader")
    to_parquet(queries.cells(cohort, "mono"), tmp_path / "cells.parquet")
