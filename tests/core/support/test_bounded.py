"""Work that may hang, crash or take all memory: what becomes of it, and of what comes after it."""

import multiprocessing
import os
import threading
from functools import partial

import pytest

from core.domain.errors import ImageError, LimitError
from core.support import bounded
from core.support.bounded import Desk, WorkLimits, each
from tests.core.support.lost_work import LIMITS, done, ending, limited, lost, nothing, refusing


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = multiprocessing.active_children()
    yield
    assert set(multiprocessing.active_children()) <= set(before)


def results(items, opening=nothing, **how):
    return list(each(done, items, opening, lost, LIMITS, **how))


def test_results_come_in_order_from_processes_that_are_not_this_one():
    found = results(range(12), jobs=2)
    assert [item for item, _ in found] == list(range(12))
    processes = {process for _, process in found}
    assert os.getpid() not in processes
    assert len(processes) <= 2


def test_what_hangs_crashes_or_takes_all_memory_is_told_and_the_rest_goes_on():
    found = dict(results([0, "hangs", 1, "ends", 2, "takes all", 3], limited))
    assert found["hangs"] == "nothing came of it for 1 s"
    assert found["ends"] == "the process that measured it ended by signal SIGKILL (for want of memory?)"
    assert found["takes all"] == "it takes more than 256 MB of memory"
    assert all(isinstance(found[number], int) for number in range(4))


def test_time_runs_from_the_last_sign_of_life():
    assert results(["is slow"])[0][0] == "is slow"


def test_a_process_that_the_system_ended_once_is_forgiven(tmp_path):
    assert results([str(tmp_path / "ended"), 1])[0][0] == str(tmp_path / "ended")


def test_only_a_few_items_are_taken_ahead_and_closing_ends_the_processes():
    taken = []
    endless = (taken.append(number) or number for number in range(1000))
    found = each(done, endless, nothing, lost, LIMITS)
    assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 5
    found.close()


def test_no_items_need_no_process():
    assert results([], refusing) == []


def test_what_opening_and_work_raise_is_raised_as_it_is():
    with pytest.raises(ImageError, match="no such model"):
        results([1], refusing)
    with pytest.raises(ImageError, match=r"a\.png: no image"):
        results([1, "raises"])


def test_processes_that_end_while_they_begin_are_not_started_for_ever():
    with pytest.raises(LimitError, match=r"end while they begin \(.*with code 9\)"):
        results([1], ending)


# --- requests that come at any time ---


@pytest.fixture
def desk():
    made = Desk(done, limited, LIMITS, most=2)
    yield made
    made.close()


def test_a_process_stays_for_the_next_request_and_tells_how_it_gets_on(desk):
    told = []
    _, first = desk.ask(1, lambda *words: told.append(words))
    _, second = desk.ask(2)
    assert first == second != os.getpid()
    assert told == [("at it", 0.5)]


def test_a_request_that_is_lost_or_refused_harms_no_other(desk):
    for item, words in (("hangs", "nothing came of it"), ("takes all", "more than 256 MB"), ("ends", "SIGKILL")):
        with pytest.raises(LimitError, match=words):
            desk.ask(item)
        assert desk.ask(1)[0] == 1
    with pytest.raises(ImageError, match=r"a\.png"):
        desk.ask("raises")
    assert desk.ask(1)[0] == 1


def test_who_comes_when_all_are_busy_waits_and_is_answered(desk):
    answers = []
    askers = [threading.Thread(target=lambda n=n: answers.append(desk.ask(n)[0])) for n in range(5)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(timeout=60)
    assert sorted(answers) == list(range(5))


def test_who_goes_away_leaves_nothing_running(desk):
    def gone(*_):
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        desk.ask("hangs", gone)
    assert set(multiprocessing.active_children()) <= before
    assert desk.ask(1)[0] == 1


def test_what_warms_is_there_when_it_is_asked(desk):
    before = set(multiprocessing.active_children())  # those of other tests
    desk.warm()
    desk.warm()
    assert len(set(multiprocessing.active_children()) - before) == 1
    assert desk.ask(1)[0] == 1
    assert len(set(multiprocessing.active_children()) - before) == 1


def test_limiting_memory_is_asked_in_the_process_that_works(tmp_path):
    opening = partial(bounded.limit_memory, 128, threads=4)
    found = dict(each(done, ["takes all"], opening, lost, WorkLimits(5, 128)))
    assert found == {"takes all": "it takes more than 128 MB of memory"}
