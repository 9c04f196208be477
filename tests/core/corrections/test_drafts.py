import os
import time
from dataclasses import replace

import pytest

from core.corrections.drafts import any_kept, drafts_of, drop_draft, forget_drafts, keep_draft, kept_draft
from core.domain.errors import StoreError
from core.store.outline_log import FOLDER


def test_r17_a_draft_comes_back_to_the_pixel_for_whoever_drew_it(root, opened, drawn):
    keep_draft(root, "browser a", opened.key, drawn)
    draft = kept_draft(root, "browser a", opened.key)
    assert (draft.labels == drawn).all()
    assert kept_draft(root, "browser b", opened.key) is None
    drop_draft(root, "browser a", opened.key)
    assert kept_draft(root, "browser a", opened.key) is None


def test_drafts_of_a_month_ago_are_forgotten_with_the_next_one(root, opened, drawn):
    keep_draft(root, "old", opened.key, drawn)
    (path,) = (root / FOLDER / "drafts").iterdir()
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(path, (long_ago, long_ago))
    keep_draft(root, "new", opened.key, drawn)
    drop_draft(root, "new", opened.key)
    assert list((root / FOLDER / "drafts").iterdir()) == []


def test_everybodys_drafts_of_a_cell_go_where_it_is_forgotten(root, opened, drawn):
    for person in "ab":
        keep_draft(root, person, opened.key, drawn)
    assert forget_drafts(root, {"another"}, "0" * 12) == 0
    assert forget_drafts(root, {opened.key.name}, None) == 2
    keep_draft(root, "a", opened.key, drawn)
    assert forget_drafts(root, (), opened.key.image_sha256[:12]) == 1
    assert kept_draft(root, "a", opened.key) is None
    assert not any_kept(root)


def test_a_person_is_told_of_their_drafts_the_newest_first(root, opened, drawn):
    for number in range(2):
        key = replace(opened.key, cell_index=number)
        keep_draft(root, "a", key, drawn, f"{number}.png")
    keep_draft(root, "b", opened.key, drawn, "b.png")
    assert [draft.image_name for draft in drafts_of(root, "a")] == ["1.png", "0.png"]


def test_a_damaged_draft_is_none(root, opened, drawn):
    keep_draft(root, "a", opened.key, drawn)
    (path,) = (root / FOLDER / "drafts").iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert kept_draft(root, "a", opened.key) is None


def test_r23_a_disk_that_refuses_is_told(root, opened, drawn):
    root.mkdir()
    (root / FOLDER).write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"):
        keep_draft(root, "a", opened.key, drawn)
