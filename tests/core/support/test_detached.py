"""Processes that nobody waits for: started, found by their folder, ended."""

import os
import sys
import time

from core.support import detached

PATIENCE_S = 60


def _ended(process):
    deadline = time.monotonic() + PATIENCE_S
    while process.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_is_found_by_its_folder_and_stopped(tmp_path):
    assert detached.process_in(tmp_path) is None
    assert detached.last_words(tmp_path) == ""
    detached.start([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"], tmp_path)
    process = detached.process_in(tmp_path)
    assert process is not None
    assert process.alive
    process.stop()
    _ended(process)
    process.stop()  # a second time nothing happens


def test_the_last_line_is_what_it_said_in_the_end(tmp_path):
    detached.start([sys.executable, "-c", "print('first'); print('error: no such folder'); print()"], tmp_path)
    process = detached.process_in(tmp_path)
    assert process is not None
    _ended(process)
    assert detached.last_words(tmp_path) == "error: no such folder"


def test_another_process_of_its_number_is_not_it(tmp_path):
    detached.start([sys.executable, "-c", ""], tmp_path)
    process = detached.process_in(tmp_path)
    assert process is not None
    _ended(process)
    assert not detached.DetachedProcess(1, "an earlier boot 1").alive


def test_a_process_that_says_where_it_works_is_found_there(tmp_path):
    detached.record(tmp_path)
    process = detached.process_in(tmp_path)
    assert process is not None
    assert process.alive
    assert process.pid == os.getpid()
