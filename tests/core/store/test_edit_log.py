import json
import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from core.domain.errors import StoreError
from core.domain.settings import ROOT
from core.store import edit_log
from core.store.edit_log import Edit, Field
from core.support.records import to_json

WHEN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def an_edit(
    value: str | None = "a", *, field: Field = Field.NOTE, restores: bool = False, cells: tuple[str, ...] = ("c1",)
) -> Edit:
    return Edit(WHEN, "Ä. Reader", field, value, restores, dict.fromkeys(cells))


def append(root, *edits: Edit) -> None:
    with edit_log.appending(root) as lines:
        lines.extend(edits)


def values(root) -> list[str | None]:
    return [edit.value for edit in edit_log.read(root).records]


def append_fifty(root, name: str) -> None:
    for number in range(50):
        append(root, an_edit(f"{name}{number}"))


def test_an_edit_is_one_line_and_comes_back(tmp_path):
    append(tmp_path, an_edit('line\nand "quote"\u2028', cells=("c1", "c2")))
    (line,) = (tmp_path / "edits.jsonl").read_bytes().splitlines()
    assert json.loads(line)["who"] == "Ä. Reader"
    (edit,) = edit_log.read(tmp_path).records
    assert (edit.when, edit.who, edit.field, edit.value, edit.restores) == (
        WHEN,
        "Ä. Reader",
        Field.NOTE,
        'line\nand "quote"\u2028',
        False,
    )
    assert edit.old == {"c1": None, "c2": None}


def test_a_root_without_edits_has_no_log_and_no_overlay(tmp_path):
    assert edit_log.read(tmp_path / "nowhere").records == ()
    assert edit_log.overlay([tmp_path]) is None
    assert edit_log.revision([tmp_path]) == ""


def test_every_edit_changes_the_revision(tmp_path):
    seen = {edit_log.revision([tmp_path])}
    for number in range(3):
        append(tmp_path, an_edit(str(number)))
        seen.add(edit_log.revision([tmp_path]))
    assert len(seen) == 4


def test_the_last_value_counts_and_what_is_restored_is_no_change(tmp_path):
    append(tmp_path, an_edit("first", cells=("c1", "c2")), an_edit("second"), an_edit("apl", field=Field.CELL_TYPE))
    table = edit_log.overlay([tmp_path]).to_pylist()
    assert [(row["cell_id"], row["note"], row["cell_type"], row["cell_type_changed"]) for row in table] == [
        ("c1", "second", "apl", True),
        ("c2", "first", None, False),
    ]
    append(
        tmp_path, an_edit(None, restores=True, cells=("c1", "c2")), an_edit(None, field=Field.CELL_TYPE, restores=True)
    )
    assert edit_log.overlay([tmp_path]) is None


@pytest.mark.parametrize("torn", [b'{"when": "2026', b"\xff\xfe\x00", b"[1, 2]", b'{"when": "x", "who": "y"}', b"null"])
def test_a_damaged_last_line_is_told_and_the_next_edit_stands_on_its_own(tmp_path, torn):
    append(tmp_path, an_edit("first"))
    with (tmp_path / "edits.jsonl").open("ab") as file:
        file.write(torn)
    log = edit_log.read(tmp_path)
    assert [edit.value for edit in log.records] == ["first"]
    (problem,) = log.problems
    assert "edits.jsonl: line 2 is damaged" in str(problem)
    append(tmp_path, an_edit("second"))
    assert values(tmp_path) == ["first", "second"]
    assert len(edit_log.read(tmp_path).problems) == 1


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_fifty, args=(tmp_path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = values(tmp_path)
    assert edit_log.read(tmp_path).problems == ()
    for name in "ab":
        assert [value for value in found if value.startswith(name)] == [f"{name}{number}" for number in range(50)]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"):
        append(tmp_path / "file" / "below", an_edit())


def test_a_block_that_fails_writes_nothing(tmp_path):
    def fail() -> None:
        with edit_log.appending(tmp_path) as lines:
            lines.append(an_edit())
            raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        fail()
    assert values(tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"when": ' + b"[" * 900 + b"]" * 900 + b"}",
        to_json(an_edit("half")).replace("half", "\\ud83d").encode().strip(),
        to_json(an_edit("half")).encode().strip().replace(b"half", b"\xed\xa0\x80"),
        to_json(an_edit("x")).replace("+00:00", "").encode().strip(),
        to_json(an_edit("lymphocyte", field=Field.CELL_TYPE)).replace("lymphocyte", "limphocyte").encode().strip(),
    ],
    ids=["100,000 brackets", "900 brackets", "half a character", "its bytes", "no time zone", "no cell type"],
)
def test_what_is_no_edit_is_told_and_the_others_hold(tmp_path, line):
    append(tmp_path, an_edit("first"))
    with (tmp_path / "edits.jsonl").open("ab") as file:
        file.write(line + b"\n")
    append(tmp_path, an_edit("last"))
    assert values(tmp_path) == ["first", "last"]
    (problem,) = edit_log.read(tmp_path).problems
    assert "line 2 is damaged" in str(problem)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_log_that_is_no_file_is_told_and_no_edit_counts(tmp_path, make):
    make(tmp_path / "edits.jsonl")
    log = edit_log.read(tmp_path)
    assert log.records == ()
    assert "edits.jsonl: cannot be read" in str(log.problems[0])
    assert edit_log.overlay([tmp_path]) is None
    with pytest.raises(StoreError, match=r"cannot write .*edits\.jsonl"):
        append(tmp_path, an_edit())


def test_a_full_disk_names_the_log_and_leaves_no_torn_line(tmp_path):
    """A disk that takes the first 200 bytes of an edit of thousands, in a process of its own."""
    append(tmp_path, an_edit("first"))
    before = (tmp_path / "edits.jsonl").read_bytes()
    script = (
        "import resource, signal, sys; from pathlib import Path; from core.domain.errors import StoreError;"
        " from tests.core.store.test_edit_log import an_edit, append;"
        f" resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 200}, resource.RLIM_INFINITY));\n"
        "try:\n    append(Path(sys.argv[1]), an_edit('x' * 1900))\n"
        "except StoreError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"cannot write {tmp_path / 'edits.jsonl'}: ")
    assert (tmp_path / "edits.jsonl").read_bytes() == before
    append(tmp_path, an_edit("second"))
    assert values(tmp_path) == ["first", "second"]
