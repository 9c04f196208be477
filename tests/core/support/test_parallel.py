"""Processes that share work: in order, each opened once, only a few items taken ahead."""

import itertools
import os
import time
from functools import partial

import pytest

from core.support import parallel


def opened(folder):
    (folder / f"opened by {os.getpid()}").touch(exist_ok=False)
    return os.getpid()


def with_its_process(item, process):
    time.sleep(0.02 * (item % 3))  # so that they do not end in their order
    return item, process, os.getpid()


def refusing():
    raise LookupError("no such model")


def one_over(item, _):
    return 1 / item


def noted(item, folder):
    (folder / f"did {item}").touch()
    return item


def itself(value):
    return value


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_from_processes_that_opened_once(tmp_path, jobs):
    found = list(parallel.each(with_its_process, range(30), partial(opened, tmp_path), jobs=jobs))
    assert [item for item, _, _ in found] == list(range(30))
    assert all(process == worker for _, process, worker in found)
    assert len({worker for _, _, worker in found}) == len(list(tmp_path.iterdir())) <= jobs
    assert (os.getpid() in {worker for _, _, worker in found}) == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_of_endless_items_only_a_few_are_taken_ahead(tmp_path, jobs):
    taken = []
    endless = (taken.append(item) or item for item in itertools.count())
    results = parallel.each(noted, endless, partial(itself, tmp_path), jobs=jobs)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 4 * jobs
    results.close()
    assert len(list(tmp_path.iterdir())) <= 3 + 4 * jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_to_do_is_nothing(jobs, tmp_path):
    assert list(parallel.each(noted, [], partial(itself, tmp_path), jobs=jobs)) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_opened_and_what_fails_is_raised_as_it_is(jobs):
    with pytest.raises(LookupError, match="no such model"):
        list(parallel.each(one_over, [1], refusing, jobs=jobs))
    results = parallel.each(one_over, [1, 0, 2], partial(itself, None), jobs=jobs)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
