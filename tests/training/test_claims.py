import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from training import claims
from training.claims import STALE_AFTER_S, claim


def left_by(folder, host, pid, age=0.0, generation=0):
    """A claim as another process has left it."""
    path = folder / f"unit.{generation}.claim"
    path.write_text(json.dumps({"host": host, "pid": pid}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_claimed_unit_cannot_be_claimed_again_until_it_is_given_up(tmp_path):
    with claim(tmp_path, "unit"):
        assert claim(tmp_path, "unit") is None
        with claim(tmp_path, "other") as other:
            assert other is not None
    with claim(tmp_path, "unit") as again:
        assert again is not None
    assert not list(tmp_path.iterdir())


def test_an_error_gives_the_unit_up(tmp_path):
    def fail():
        with claim(tmp_path, "unit"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert claim(tmp_path, "unit") is not None


def test_the_claim_of_a_dead_process_of_this_host_is_taken_at_once(tmp_path):
    left_by(tmp_path, socket.gethostname(), dead_process())
    assert claim(tmp_path, "unit") is not None


def test_another_host_is_believed_as_long_as_its_claim_is_touched(tmp_path):
    path = left_by(tmp_path, "elsewhere", dead_process(), age=STALE_AFTER_S - 60)
    assert claim(tmp_path, "unit") is None
    os.utime(path, (time.time() - STALE_AFTER_S - 1,) * 2)
    assert claim(tmp_path, "unit") is not None


def test_a_claim_cut_off_while_it_was_written_holds_until_it_is_old(tmp_path):
    path = left_by(tmp_path, "elsewhere", 1)
    path.write_text("")
    assert claim(tmp_path, "unit") is None
    os.utime(path, (time.time() - STALE_AFTER_S - 1,) * 2)
    assert claim(tmp_path, "unit") is not None


def test_the_newest_claim_counts(tmp_path):
    left_by(tmp_path, socket.gethostname(), dead_process(), generation=9)
    left_by(tmp_path, socket.gethostname(), os.getpid(), generation=10)
    assert claim(tmp_path, "unit") is None


@pytest.mark.parametrize("stale", [True, False])
def test_of_many_takers_one_gets_it(tmp_path, stale):
    if stale:
        left_by(tmp_path, socket.gethostname(), dead_process())
    takers, got = 16, []
    start = threading.Barrier(takers)

    def take():
        start.wait()
        got.append(claim(tmp_path, "unit"))

    threads = [threading.Thread(target=take) for _ in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == takers
    assert sum(one is not None for one in got) == 1


def test_an_owner_whose_claim_was_taken_over_leaves_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.001)
    with claim(tmp_path, "unit"):
        (path,) = tmp_path.iterdir()
        path.unlink()
        time.sleep(0.05)
        assert not list(tmp_path.iterdir())


def test_a_claim_that_cannot_be_written_holds_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            claim(tmp_path, "unit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert claim(tmp_path, "unit") is not None


def test_an_owner_touches_its_claim_while_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    with claim(tmp_path, "unit"):
        (path,) = tmp_path.iterdir()
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 20
