"""Where results go.

On a disk as in a bucket a file is there whole or not at all, and what is refused is told in words.
"""

import os
import threading
import uuid

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.batch.inputs import open_inputs
from core.batch.storage import FileRefusedError, LocalStorage, RemoteStorage, open_storage
from core.domain.errors import StoreError, UsageError


@pytest.fixture
def local(tmp_path):
    storage = LocalStorage(tmp_path / "out")
    storage.make()
    return storage


@pytest.fixture(params=["local", "remote"])
def storage(request):
    return (
        request.getfixturevalue("local")
        if request.param == "local"
        else RemoteStorage(f"memory://{uuid.uuid4().hex}/out/")
    )


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- both -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_written_again_replaced(storage):
    storage.write("masks/a/b.png", b"first, and longer")
    storage.write("masks/a/b.png", b"second")
    storage.make_durable(["masks/a/b.png"])
    assert storage.read("masks/a/b.png") == b"second"
    with storage.open("masks/a/b.png") as file:
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"nd"


def test_what_is_not_there_is_none_and_no_error(storage):
    assert storage.read("run.json") is None
    assert storage.names("cells") == []
    storage.move("cells", "earlier/cells")
    assert storage.names("earlier") == []


def test_names_are_those_of_a_folder_sorted(storage):
    for name in ("cells/b", "cells/a", "cells/ü =+1", "masks/c"):
        storage.write(name, b"x")
    assert storage.names("cells") == ["a", "b", "ü =+1"]


def test_a_file_and_a_folder_with_all_in_it_are_moved(storage):
    for name in ("cells/1", "masks/a/b.png", "run.json"):
        storage.write(name, name.encode())
    for name in ("cells", "masks", "run.json"):
        storage.move(name, f"earlier/x/{name}")
    assert storage.names("cells") == []
    assert storage.read("run.json") is None
    assert {name: storage.read(f"earlier/x/{name}") for name in ("cells/1", "masks/a/b.png", "run.json")} == {
        "cells/1": b"cells/1", "masks/a/b.png": b"masks/a/b.png", "run.json": b"run.json"
    }  # fmt: skip
    storage.write("cells/2", b"new")  # into a folder that was there and is not any more
    assert storage.names("cells") == ["2"]


def test_a_large_file_is_made_elsewhere_and_placed(storage):
    storage.write("cells/1", b"one")
    storage.write("cells/2", b"two")
    with storage.work_folder() as work, storage.local_copies("cells", ["2", "1"]) as copies:
        made = work / "cells.csv"
        made.write_bytes((copies / "1").read_bytes() + (copies / "2").read_bytes())
        assert storage.read("cells.csv") is None
        storage.place("cells.csv", made)
    assert storage.read("cells.csv") == b"onetwo"
    assert not work.exists()
    assert storage.names("cells") == ["1", "2"]


def test_a_path_or_url_tells_where_results_go(tmp_path):
    assert open_storage(str(tmp_path)).root == tmp_path
    assert open_storage(f"file://{tmp_path}").root == tmp_path
    bucket = f"memory://{uuid.uuid4().hex}"
    open_storage(bucket).write("run.json", b"x")
    assert open_storage(f"{bucket}/").read("run.json") == b"x"


def test_a_url_that_nothing_opens_is_told():
    with pytest.raises(UsageError, match="nosuch://bucket/out: expected an address that fsspec can open"):
        open_storage("nosuch://bucket/out")


# --- a disk -----------------------------------------------------------------------------------------------------------


def test_a_reader_sees_one_whole_file_or_another(local):
    contents = [bytes([number]) * 200_000 for number in range(4)]
    local.write("progress.json", contents[0], durable=False)
    over = threading.Event()

    def write():
        while not over.is_set():
            for content in contents:
                local.write("progress.json", content, durable=False)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        read = [local.read("progress.json") for _ in range(300)]
    finally:
        over.set()
        thread.join()
    assert set(read) <= set(contents)
    assert len(set(read)) > 1


def test_where_the_disk_refuses_the_old_file_stays_and_nothing_half_written_lies_about(local, monkeypatch):
    local.write("run.json", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*run\.json: No space left on device; check the free space"):
        local.write("run.json", b"new")
    assert local.read("run.json") == b"old"
    assert files(local.root) == ["run.json"]
    with pytest.raises(StoreError, match="No space left"):
        local.make_durable(["run.json"])
    local.write("progress.json", b"new", durable=False)
    assert local.read("progress.json") == b"new"


def test_a_name_that_cannot_be_is_refused_alone(local):
    local.write("masks/folder.png/a.png", b"x")
    local.write("masks/file.png", b"x")
    for name in (f"masks/{'n' * 300}.png", "masks/folder.png", "masks/file.png/a.png"):
        with pytest.raises(FileRefusedError) as refused:
            local.write(name, b"y")
        assert not isinstance(refused.value, StoreError)
        assert refused.value.strerror
    local.write("masks/good.png", b"x")
    assert files(local.root) == ["masks/file.png", "masks/folder.png/a.png", "masks/good.png"]


def test_what_a_killed_run_left_unfinished_is_cleared_and_nothing_else(local):
    local.write("run.json", b"x")
    with local.work_folder() as work:
        (work / "cells.csv").write_bytes(b"half")
        local.clear_unfinished()
        assert files(local.root) == ["run.json"]
    local.write("errors.csv", b"y")
    assert files(local.root) == ["errors.csv", "run.json"]


def test_a_place_where_no_folder_can_be_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"cannot be kept in .*file.out \(Not a directory\); choose another --out"):
        LocalStorage(tmp_path / "file" / "out").make()


class _Refusing(MemoryFileSystem):
    protocol = "refusing"

    def _open(self, *_, **__):
        raise PermissionError("the token has expired")

    ls = mv = exists = isdir = cat_file = pipe_file = _open


def test_what_a_bucket_refuses_is_told():
    fsspec.register_implementation("refusing", _Refusing, clobber=True)
    bucket = open_storage("refusing://results")
    for ask in (
        bucket.read,
        bucket.open,
        bucket.names,
        lambda path: bucket.write(path, b"1"),
        lambda path: bucket.move(path, "b"),
    ):
        with pytest.raises(
            StoreError, match=r"a: the bucket refuses \(PermissionError: the token has expired\); check"
        ):
            ask("a")
    with pytest.raises(StoreError, match="check address, credentials"):
        open_inputs("refusing://smears")
