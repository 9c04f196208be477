import hashlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from core.cases import store
from core.cases.store import CaseImage, Cases
from core.domain.errors import ConflictError, StoreError, UsageError
from core.domain.types import GivenScale
from core.support import files


@pytest.fixture
def cases(tmp_path) -> Cases:
    return Cases(tmp_path / "cases" / "me")


def image(data: bytes, name: str = "a.png", **more: object) -> CaseImage:
    return CaseImage(name, hashlib.sha256(data).hexdigest(), **more)  # type: ignore[arg-type]


def test_a_case_comes_back_as_it_was_kept(cases):
    made = cases.create(" Patient 7 ", "hairy?\nsecond line")
    scale = GivenScale(0.0934, 0.02, "red cells", "from red cells of 147 images")
    cases.put(made.id, image(b"one", "ä.png", scale=scale, notes="odd nucleus", cells=2, flagged=1), b"one", b"cells")
    cases.put(made.id, image(b"two", "b.png", problem="damaged"), b"two")
    again = Cases(cases.folder).open(made.id)
    assert (again.title, again.notes, again.cells, again.size) == ("Patient 7", "hairy?\nsecond line", 2, 6)
    first, second = again.images
    assert (first.name, first.scale, first.notes, first.flagged) == ("ä.png", scale, "odd nucleus", 1)
    assert cases.original(made.id, first) == b"one"
    assert cases.cells(made.id, first) == b"cells"
    assert (second.problem, cases.original(made.id, second), cases.cells(made.id, second)) == ("damaged", b"two", None)
    assert again.changed > again.created


def test_cells_are_exchanged_and_what_is_replaced_or_dropped_leaves_no_file(cases):
    made = cases.create("t")
    cases.put(made.id, image(b"one"), b"one", b"before")
    case = cases.put(made.id, image(b"one", cells=1), None, b"after")
    assert len(case.images) == 1
    assert cases.cells(made.id, case.images[0]) == b"after"
    assert cases.original(made.id, case.images[0]) == b"one"
    assert len(list((cases.folder / made.id / "cells").iterdir())) == 1
    assert cases.drop(made.id, case.images[0].sha256).images == ()
    assert not [path for path in (cases.folder / made.id).rglob("*") if path.is_file() and path.name != "case.json"]


def test_an_image_without_its_picture_is_kept_as_what_was_measured(cases):
    made = cases.create("t")
    case = cases.put(made.id, image(b"gone", cells=1), None, b"cells")
    assert cases.original(made.id, case.images[0]) is None
    assert cases.cells(made.id, case.images[0]) == b"cells"
    assert cases.put(made.id, image(b"gone", cells=1), b"gone").images[0].size == 4, "the picture came later"


def test_the_shelf_has_what_changed_last_first_and_sets_only_damaged_ones_aside(cases):
    one, two, bad = cases.create("one"), cases.create("two"), cases.create("bad")
    cases.rename(one, "one, again", "")
    (cases.folder / bad.id / "case.json").write_text('{"id": ')
    shelf = cases.shelf()
    assert [case.title for case in shelf.cases] == ["one, again", "two"]
    assert len(shelf.problems) == 1
    assert f"the case {bad.id} is damaged and was set aside" in shelf.problems[0]
    cases.delete(bad.id)
    assert cases.shelf().problems == ()
    assert [case.id for case in cases.shelf().cases] == [one.id, two.id]


@pytest.mark.parametrize(
    "plain",
    [
        {"sha256": "../../etc/passwd"},
        {"cells_file": "../other.parquet"},
        {"scale": {"um_per_px": 1000.0}},
        {"cells": "many"},
    ],
)
def test_a_case_whose_description_would_lead_elsewhere_is_refused(cases, plain):
    made = cases.create("t")
    cases.put(made.id, image(b"one"), b"one", b"cells")
    path = cases.folder / made.id / "case.json"
    content = json.loads(path.read_text())
    content["images"][0] |= plain
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="damaged"):
        cases.open(made.id)


def test_a_damaged_file_is_told_and_not_shown(cases):
    made = cases.create("t")
    case = cases.put(made.id, image(b"one"), b"one", b"cells")
    kept = case.images[0]
    (cases.folder / made.id / "images" / kept.sha256).write_bytes(b"ono")
    with pytest.raises(StoreError, match=r"a\.png: its file in the case is damaged"):
        cases.original(made.id, kept)
    (cases.folder / made.id / "cells" / kept.cells_file).unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        cases.cells(made.id, kept)


def test_nobody_else_finds_a_case_and_no_id_leads_out_of_the_folder(cases, tmp_path):
    made = cases.create("mine")
    other = Cases(tmp_path / "cases" / "you")
    assert other.shelf().cases == ()
    with pytest.raises(StoreError, match="no such case here"):
        other.open(made.id)
    for name in (f"../me/{made.id}", "", "..", f"{made.id}/"):
        with pytest.raises(StoreError, match="expected the id of a case"):
            other.open(name)
    with pytest.raises(StoreError, match="no such case here"):
        other.put(made.id, image(b"x"), b"x")
    assert not other.folder.exists()


def test_two_windows_that_add_images_lose_none(cases):
    made = cases.create("t")
    contents = [str(number).encode() for number in range(16)]
    barrier = threading.Barrier(2)

    def add(part: list[bytes]) -> None:
        barrier.wait()
        for data in part:
            Cases(cases.folder).put(made.id, image(data), data, data + b" cells")

    threads = [threading.Thread(target=add, args=(contents[start::2],)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    case = cases.open(made.id)
    assert sorted(cases.original(made.id, one) or b"" for one in case.images) == sorted(contents)
    assert all(cases.cells(made.id, one) for one in case.images)


def test_words_changed_in_two_windows_are_not_lost_in_silence(cases):
    made = cases.create("t", "as it was")
    cases.rename(made, "t", "by one window")
    with pytest.raises(ConflictError, match="changed in another window"):
        cases.rename(made, "t", "by the other")
    assert cases.open(made.id).notes == "by one window"
    cases.put(made.id, image(b"x", notes="first"), b"x", seen_notes="")
    with pytest.raises(ConflictError, match=r"notes of a\.png"):
        cases.put(made.id, image(b"x", notes="mine"), seen_notes="")
    measured = cases.put(made.id, image(b"x", cells=1, notes="stale"), None, b"cells")
    assert measured.images[0].notes == "first", "who measures changes no notes"
    assert cases.put(made.id, image(b"x", notes="mine"), seen_notes="first").images[0].notes == "mine"


def test_the_limits_are_said_in_words_and_nothing_is_written(cases, monkeypatch):
    made = cases.create("t")
    monkeypatch.setattr(store, "MOST_IMAGES", 2)
    for data in (b"1", b"2"):
        cases.put(made.id, image(data), data)
    with pytest.raises(UsageError, match="at most 2 images"):
        cases.put(made.id, image(b"3"), b"3")
    cases.put(made.id, image(b"2", cells=1), None, b"cells")
    monkeypatch.setattr(store, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="together"):
        cases.put(cases.create("u").id, image(bytes(11)), bytes(11))
    monkeypatch.setenv("LEUKOSCOPE_MAX_UPLOAD_BYTES", "5")
    with pytest.raises(UsageError, match="delete earlier cases"):
        cases.put(cases.create("v").id, image(bytes(4)), bytes(4))
    assert len(cases.open(made.id).images) == 2
    for title in ("", "  ", "x" * 121):
        with pytest.raises(UsageError, match="title"):
            cases.create(title)
    with pytest.raises(UsageError, match="notes may have"):
        cases.create("t", "x" * 20_001)


def test_a_full_disk_is_told_and_the_case_stays_as_it_was(cases, monkeypatch):
    made = cases.create("t")
    case = cases.put(made.id, image(b"one"), b"one", b"cells")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(StoreError, match="No space left on device; check the free space"):
        cases.put(made.id, image(b"two"), b"two")
    with pytest.raises(StoreError, match="No space left on device"):
        cases.create("u")
    monkeypatch.undo()
    assert cases.open(made.id) == case
    cases.put(made.id, image(b"three"), b"three")
    assert len(list((cases.folder / made.id / "images").iterdir())) == 2, "what the full disk left is gone"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot write"):
        Cases(tmp_path / "file" / "me").create("t")


def test_a_deleted_case_is_gone_with_its_files_and_changing_it_says_so(cases):
    made = cases.create("t")
    cases.put(made.id, image(b"one"), b"one")
    cases.delete(made.id)
    cases.delete(made.id)
    assert list(cases.folder.iterdir()) == []
    with pytest.raises(StoreError, match="it was deleted"):
        cases.put(made.id, image(b"two"), b"two")


def test_half_characters_in_names_and_notes_are_kept_as_a_sign(cases):
    made = cases.create("a\ud800b", "\udfff")
    case = cases.put(made.id, replace(image(b"x"), name="c\udcffd.png", notes="\ud800"), b"x", seen_notes="")
    assert case == cases.open(made.id)
    assert (case.title, case.notes, case.images[0].name) == ("a\ufffdb", "\ufffd", "c\ufffdd.png")


def test_the_folder_of_a_case_is_its_owners_alone(cases):
    made = cases.create("t")
    assert Path(cases.folder / made.id).stat().st_mode & 0o077 == 0
