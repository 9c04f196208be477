"""Adaptations that a page starts: what may be taught, and how it is found again by its folder."""

import time

import pytest

from core.domain.errors import UsageError
from core.evaluation.adaptation import ACCOUNT_FILE, save
from core.evaluation.adapting import Adapting, Doing, adaptations, folders_of_pairs, start
from tests.accounts import made_account

PATIENCE_S = 120


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", str(tmp_path / "images"))
    return tmp_path


def _pairs(folder):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    return folder


def test_folders_of_pairs_are_found_where_pages_copy_them_and_where_one_may_choose(folders):
    copied = _pairs(folders / "runs" / "training" / "run-1")
    own = _pairs(folders / "images" / "hospital" / "cells")
    (folders / "images" / "alone" / "images").mkdir(parents=True)
    _pairs(folders / "images" / ".hidden")
    assert folders_of_pairs() == [copied, own]


@pytest.mark.parametrize("name", ["", "../out", "a b", ".hidden", "x" * 61])
def test_a_name_that_is_no_folders_is_refused(name, folders):
    with pytest.raises(UsageError, match="expected a name of at most 60 letters"):
        start(folders, name, "unet-slim-lite0")


def test_what_ends_at_once_says_why(folders):
    made = start(folders / "nowhere", "mine", "unet-slim-lite0")
    assert [run.folder for run in adaptations()] == [made.folder]
    deadline = time.monotonic() + PATIENCE_S
    while (found := made.standing())[0] is Doing.GOING_ON:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found[0] is Doing.STOPPED
    assert "nowhere" in found[1]
    made.stop()  # of what has ended, nothing


def test_one_that_left_an_account_is_done(folders):
    folder = folders / "runs" / "mine"
    folder.mkdir(parents=True)
    assert Adapting(folder).standing()[0] is Doing.STOPPED
    save(made_account(), folder / ACCOUNT_FILE)
    assert Adapting(folder).standing() == (Doing.DONE, "")
    assert Adapting(folder).account == made_account()
