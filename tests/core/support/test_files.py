"""A file is there whole or not at all, whoever else writes it and whatever the disk does."""

import errno
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from core.domain.settings import ROOT
from core.support import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def synced(monkeypatch):
    """Whether each thing that was brought to the disk is a folder, in order."""
    seen, fsync = [], os.fsync

    def noting(descriptor):
        seen.append(os.path.isdir(f"/proc/self/fd/{descriptor}"))  # noqa: PTH112
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return seen


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_written_replaces_what_was_there_and_leaves_nothing_else(tmp_path, durable):
    path = tmp_path / "table.csv"
    files.write_text(path, "größer\n", durable=durable)
    assert path.read_bytes() == "größer\n".encode()
    files.write_bytes(path, memoryview(b"second"), durable=durable)
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="asks Linux what a descriptor is")  # noqa: PTH110
def test_a_durable_file_is_on_the_disk_before_its_name_and_then_the_name(tmp_path, synced, monkeypatch):
    path, replace = tmp_path / "kept", os.replace
    monkeypatch.setattr(os, "replace", lambda *args: (synced.append("renamed"), replace(*args)))
    files.write_bytes(path, b"x", durable=True)
    assert synced == [False, "renamed", True]
    synced.clear()
    files.write_bytes(path, b"y")
    assert synced == ["renamed"]


def test_until_the_block_ends_the_old_file_is_read(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with files.replacing(path) as made:
        made.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert made.name.startswith(".kept-")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_after_an_error_the_old_file_is_there_and_nothing_half_made(tmp_path, error):
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def fail():
        with files.replacing(path) as made:
            made.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["kept"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_told_with_the_name_of_the_file_and_leaves_nothing(tmp_path, full_disk, durable):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")
    full_disk("checkpoint.pt")
    with pytest.raises(OSError, match=r"No space left on device: '.*/checkpoint\.pt'") as caught:
        files.write_bytes(path, b"new", durable=durable)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["checkpoint.pt"]


def test_a_file_that_cannot_have_its_name_is_told_by_that_name(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    for name in ("folder", "n" * 300):
        with pytest.raises(OSError, match=f"'.*/{name}'$") as caught:
            files.write_bytes(tmp_path / name, b"x")
        assert caught.value.filename == str(tmp_path / name)
    assert names(tmp_path) == ["folder"]


def test_what_the_block_cannot_read_is_told_by_its_own_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "copy"):
        (tmp_path / "source").read_bytes()
    assert str(caught.value.filename) == str(tmp_path / "source")


def test_a_long_name_leaves_room_for_that_of_the_unfinished_file(tmp_path):
    for name in ("n" * 255, "ü" * 127, "\N{MICROSCOPE}" * 63):
        files.write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_folder_appears_with_all_that_is_in_it_and_never_over_another(tmp_path):
    (tmp_path / "work").mkdir()

    def make(content):
        with files.replacing(tmp_path / "unit", work=tmp_path / "work") as made:
            made.mkdir()
            (made / "table").write_bytes(content)
            assert made.parent == tmp_path / "work"

    make(b"first")
    with pytest.raises(OSError, match="unit"):
        make(b"second")
    assert (tmp_path / "unit" / "table").read_bytes() == b"first"
    assert names(tmp_path / "work") == []


def test_two_who_write_one_file_do_not_meet(tmp_path):
    path, contents = tmp_path / "one", [bytes([number]) * 100_000 for number in range(8)]
    start, seen = threading.Barrier(len(contents)), set()

    def write(content):
        start.wait()
        for _ in range(20):
            files.write_bytes(path, content)
            seen.add(path.read_bytes())

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(contents)
    assert names(tmp_path) == ["one"]


def test_what_a_killed_process_left_is_cleared_and_nothing_of_others(tmp_path):
    program = (
        "import pathlib, sys, time; from core.support import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as made:\n"
        "    made.write_bytes(b'half'); print(flush=True); time.sleep(60)"
    )
    path = tmp_path / "unit.pt"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        process.stdout.readline()
        process.kill()
    (left,) = names(tmp_path)
    others = [f".unit.pt-more-{'0' * 32}", ".unit.pt-notes", f"unit.pt-{'0' * 32}"]
    for name in others:
        (tmp_path / name).touch()
    files.clear_unfinished(path)
    assert left.startswith(".unit.pt-")
    assert names(tmp_path) == sorted(others)


def test_a_folder_that_is_removed_is_gone_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "population"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}").touch()
    seen, over = [], threading.Event()

    def look():
        while not over.is_set():
            if folder.exists():
                with suppress(FileNotFoundError):
                    seen.append(len(list(folder.iterdir())))
            time.sleep(0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        files.remove_folder(folder)
    finally:
        over.set()
        thread.join()
    assert set(seen) <= {10}
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_read_for_ever(tmp_path, make):
    make(tmp_path / "thing")
    with pytest.raises(OSError, match="no regular file") as refused:
        files.read_bytes(tmp_path / "thing")
    assert refused.value.filename == str(tmp_path / "thing")


def test_a_regular_file_is_read_whole_and_through_links(tmp_path):
    files.write_text(tmp_path / "a.txt", "größer")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert files.read_text(tmp_path / "b.txt") == "größer"
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "gone")
