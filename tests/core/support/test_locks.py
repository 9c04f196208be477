"""Locks that exclude, wait, and go away with their process; as Windows has them, too, as far as Linux can show it."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from core.domain.settings import ROOT
from core.support import locks
from tests.locking import as_windows_does


@pytest.fixture(params=["here", "windows"], autouse=True)
def system(request, monkeypatch):
    if request.param == "windows":
        fcntl = pytest.importorskip("fcntl")
        if not hasattr(fcntl, "F_OFD_SETLK"):
            pytest.skip("stands in for Windows by locks that only Linux has")
        monkeypatch.setitem(sys.modules, "msvcrt", as_windows_does(fcntl))
        monkeypatch.setitem(sys.modules, "fcntl", None)


def test_one_has_it_until_it_is_given_back(tmp_path):
    path = tmp_path / "new" / "lock"
    assert not locks.is_locked(path)
    with locks.lock(path) as held:
        assert locks.is_locked(path)
        assert locks.try_lock(path) is None
        other = locks.try_lock(tmp_path / "other")
        assert other is not None
    assert not locks.is_locked(path)
    again = locks.try_lock(path)
    assert again is not None
    held.release()  # a second time: does not touch that of others
    assert locks.is_locked(path)
    again.release()
    other.release()


def test_an_error_gives_it_back(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.lock(tmp_path / "lock"):
        raise ZeroDivisionError
    assert not locks.is_locked(tmp_path / "lock")


def test_whoever_waits_has_it_next(tmp_path):
    path, got = tmp_path / "lock", []

    def wait():
        with locks.lock(path):
            got.append("waited")

    with locks.lock(path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        assert got == []
    thread.join(10)
    assert got == ["waited"]
    held = locks.lock(path)
    threading.Timer(0.05, held.release).start()
    assert locks.try_lock(path, wait_s=10) is not None


def test_to_look_keeps_nobody_from_it(tmp_path):
    path, over = tmp_path / "lock", threading.Event()
    path.touch()

    def look():
        while not over.is_set():
            locks.is_locked(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            held = locks.try_lock(path, wait_s=10)
            assert held is not None
            held.release()
    finally:
        over.set()
        for looker in lookers:
            looker.join()


def test_the_contents_can_be_read_and_written_by_others_meanwhile(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    with locks.lock(path), path.open("a+b") as file:
        file.write(b"second\n")
        file.flush()
        assert path.read_bytes() == b"first\nsecond\n"
    with locks.lock(tmp_path / "note") as held:
        held.write(b"who")
        assert (tmp_path / "note").read_bytes() == b"who"


def test_the_file_goes_with_the_lock_where_it_is_to(tmp_path):
    with locks.lock(tmp_path / "kept"), locks.lock(tmp_path / "gone", keep_file=False):
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("keep_file", [True, False])
def test_never_two_have_it(tmp_path, keep_file):
    path, inside, most = tmp_path / "lock", [0], []
    start = threading.Barrier(8)

    def take():
        start.wait()
        for _ in range(25):
            with locks.lock(path, keep_file=keep_file):
                inside[0] += 1
                most.append(inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 200


def test_of_many_takers_one_gets_it(tmp_path):
    takers, got = 16, []
    start = threading.Barrier(takers)

    def take():
        start.wait()
        got.append(locks.try_lock(tmp_path / "lock", keep_file=False))

    threads = [threading.Thread(target=take) for _ in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == takers
    assert sum(one is not None for one in got) == 1


def test_a_file_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        locks.lock(tmp_path / "file" / "lock")


def held_by_another(path, keep_file):
    program = (
        "import pathlib, sys, time; from core.support import locks\n"
        f"with locks.lock(pathlib.Path(sys.argv[1]), keep_file={keep_file}):\n"
        "    print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


@pytest.mark.parametrize("system", ["here"], indirect=True)  # the other process has the locks of this system
@pytest.mark.parametrize("keep_file", [True, False])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_goes_away_with_its_process_however_that_ends(tmp_path, keep_file, number):
    path = tmp_path / "lock"
    with held_by_another(path, keep_file) as process:
        assert locks.is_locked(path)
        assert locks.try_lock(path) is None
        started = time.monotonic()
        threading.Timer(0.1, process.send_signal, (number,)).start()
        locks.lock(path).release()
        assert time.monotonic() - started < 30
    assert not locks.is_locked(path)
